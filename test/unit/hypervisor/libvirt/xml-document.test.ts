import { expect, it } from 'vitest';
import { parseXml } from '#nbdelta/hypervisor/libvirt/xml-document.js';

it.each([
  ['an open element', '<a><b></a>'],
  ['an attribute without quotes', '<a b=c/>'],
  ['two roots', '<a/><a/>'],
  ['text behind', '<a/>text'],
  ['an unknown entity', '<a>&nope;</a>'],
])('mends nothing: %s', (_, text) => {
  expect(() => parseXml(text, 'a', 'it')).toThrow(/^it is not XML: /);
});

it('expands no entities of the document', () => {
  const bomb = `<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>`;
  expect(() => parseXml(bomb, 'a', 'it')).toThrow('it is not XML');
});

it('ends lines as XML 1.0 does: a line separator in a name stays what it is', () => {
  const text = '<a><b>\u2028\u0085x</b>\r\n</a>';
  expect(parseXml(text, 'a', 'it').textContent).toBe('\u2028\u0085x\n');
});
