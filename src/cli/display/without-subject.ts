/** A message without the names at its front (`disk vda: disk vda: bad sector`) that its place tells already. */
export function withoutSubject(message: string, subjects: readonly string[]): string {
  for (const subject of subjects) {
    const rest = message.slice(subject.length + 2);
    if (message.startsWith(`${subject}: `) && rest !== '') return withoutSubject(rest, subjects);
  }
  return message;
}

/** A message that begins with its subject, once. */
export function withSubjectOnce(message: string): string {
  const [, subject] = /^(disk [^\s:]+): /.exec(message) ?? [];
  return subject === undefined ? message : `${subject}: ${withoutSubject(message, [subject])}`;
}
