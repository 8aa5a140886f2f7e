import { DOMImplementation, DOMParser, type Element, XMLSerializer } from '@xmldom/xmldom';
import { errorLine, HypervisorError } from '../../errors.js';

export type { Element };

/**
 * Parses an XML document with that root element.
 * @throws HypervisorError when it is not well-formed, or another document; `what` names it.
 */
export function parseXml(text: string, root: string, what: string): Element {
  const element = wellFormed(text, what);
  if (element.tagName === root) return element;
  throw new HypervisorError('HYPERVISOR_FAILED', `${what}: expected <${root}>, found <${element.tagName}>`);
}

function wellFormed(text: string, what: string): Element {
  try {
    // The parser mends what it can and goes on by default; mended XML is not what libvirt said.
    const onError = (level: string, message: string) => {
      throw new Error(`${level}: ${message}`);
    };
    // Of XML 1.0, which libvirt speaks: the parser's own are those of 1.1, where U+2028 in a path is a line end.
    const normalizeLineEndings = (source: string) => source.replaceAll(/\r\n?/g, '\n');
    const parser = new DOMParser({ onError, normalizeLineEndings });
    const root = parser.parseFromString(text, 'text/xml').documentElement;
    if (root !== null) return root;
    throw new Error('it is empty');
  } catch (cause) {
    throw new HypervisorError('HYPERVISOR_FAILED', `${what} is not XML: ${errorLine(cause)}`, { cause });
  }
}

/** Child elements, all or those of that name. */
export function childElements(parent: Element | undefined, name?: string): readonly Element[] {
  const children: Element[] = [];
  for (let node = parent?.firstChild ?? null; node !== null; node = node.nextSibling) {
    if (node.nodeType !== node.ELEMENT_NODE) continue;
    const element = node as Element;
    if (name === undefined || element.tagName === name) children.push(element);
  }
  return children;
}

/** The first element at a path of names below `parent`. */
export function descend(parent: Element | undefined, ...path: readonly string[]): Element | undefined {
  return path.reduce((at, name) => childElements(at, name)[0], parent);
}

export function attribute(element: Element | undefined, name: string): string | undefined {
  return element?.getAttribute(name) ?? undefined;
}

/** The element's text without white space around it; `undefined` when there is none. */
export function textOf(element: Element | undefined): string | undefined {
  return element?.textContent?.trim() || undefined;
}

export type Attributes = Readonly<Record<string, string | undefined>>;

/** A new document's root. */
export function newRoot(name: string, attributes: Attributes = {}): Element {
  const root = new DOMImplementation().createDocument(null, name, null).documentElement!;
  setAttributes(root, attributes);
  return root;
}

/** Appends a new element; attributes that are `undefined` are left out. */
export function append(parent: Element, name: string, attributes: Attributes = {}, text?: string): Element {
  const element = parent.ownerDocument!.createElement(name);
  setAttributes(element, attributes);
  if (text !== undefined) element.appendChild(parent.ownerDocument!.createTextNode(text));
  parent.appendChild(element);
  return element;
}

/** Replaces everything in an element by text. */
export function setText(element: Element, text: string): void {
  element.textContent = text;
}

/** Appends a copy of an element of another document. */
export function appendCopy(parent: Element, source: Element): void {
  parent.appendChild(parent.ownerDocument!.importNode(source, true));
}

export function formatXml(root: Element): string {
  return `${new XMLSerializer().serializeToString(root)}\n`;
}

function setAttributes(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) element.setAttribute(name, value);
  }
}
