import * as z from 'zod';
import { NbdeltaError } from '../errors.js';

// A process reads a few documents of each kind: zod would spend more on code for them than the code saves.
z.config({ jitless: true });

/** What makes a JSON file ours: which format, up to which version, and which required features we know. */
export interface DocumentKind<Schema extends z.ZodType> {
  readonly format: string;
  readonly version: number;
  readonly knownFeatures: readonly string[];
  readonly schema: Schema;
  /** The error for a file that is damaged or not ours. */
  readonly invalid: (message: string, cause?: unknown) => NbdeltaError;
}

const envelopeSchema = z.object({
  format: z.string(),
  version: z.int().positive(),
  features: z.array(z.string()).default([]),
});

/**
 * Reads a JSON file of ours. The version and the required features are judged before the rest: a newer
 * format may look different, and "newer" is what the user should hear then, not "damaged".
 * @param name how messages call the file.
 * @throws `kind.invalid(…)`, or NbdeltaError FORMAT_UNSUPPORTED.
 */
export function decodeDocument<Schema extends z.ZodType>(
  bytes: Uint8Array,
  name: string,
  kind: DocumentKind<Schema>,
): z.output<Schema> {
  const value = parseJson(bytes, name, kind.invalid);
  const envelope = checkShape(envelopeSchema, value, name, kind.invalid);
  if (envelope.format !== kind.format) {
    throw kind.invalid(
      `${name}: format is ${JSON.stringify(envelope.format.slice(0, 64))}, expected "${kind.format}"`,
    );
  }
  checkSupported(envelope, name, kind);
  return checkShape(kind.schema, value, name, kind.invalid);
}

/** The file's bytes: two spaces, a newline at the end, so that `cat` and `diff` do. */
export function encodeDocument(value: object): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
}

/** The first thing that is wrong, with where it is: one line. */
export function describeIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  if (issue === undefined) return 'invalid';
  const where = issue.path.map(String).join('.');
  return where === '' ? issue.message : `${where}: ${issue.message}`;
}

function checkSupported(
  envelope: z.output<typeof envelopeSchema>,
  name: string,
  kind: { readonly version: number; readonly knownFeatures: readonly string[] },
): void {
  const hint = 'It was written by a newer version: update nbdelta.';
  if (envelope.version > kind.version) {
    const message = `${name}: version ${envelope.version} is unknown, expected at most ${kind.version}`;
    throw new NbdeltaError('FORMAT_UNSUPPORTED', message, { hint });
  }
  const unknown = envelope.features.find(feature => !kind.knownFeatures.includes(feature));
  if (unknown === undefined) return;
  const message = `${name}: needs the unknown feature ${JSON.stringify(unknown.slice(0, 64))}`;
  throw new NbdeltaError('FORMAT_UNSUPPORTED', message, { hint });
}

function parseJson(bytes: Uint8Array, name: string, invalid: DocumentKind<z.ZodType>['invalid']): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes), refusePrototype);
  } catch (error) {
    // Also a RangeError: nesting deep enough to exhaust the stack is damage like any other.
    throw invalid(`${name}: not readable as JSON (${error instanceof Error ? error.message : error})`, error);
  }
}

/** A `__proto__` key would become a prototype wherever the value is copied: no file of ours has one. */
function refusePrototype(key: string, value: unknown): unknown {
  if (key === '__proto__') throw new SyntaxError('the key "__proto__" is not allowed');
  return value;
}

function checkShape<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  name: string,
  invalid: DocumentKind<z.ZodType>['invalid'],
): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw invalid(`${name}: ${describeIssue(result.error)}`, result.error);
}
