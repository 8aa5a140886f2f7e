import { expect, it } from 'vitest';
import { createProgram } from '#nbdelta/cli/program.js';

const all = await createProgram();
const names = all.commands.map(command => command.name());

it.each(names)('%s is the same command alone as among all others', async name => {
  const alone = (await createProgram(name)).commands.find(command => command.name() === name);
  const among = all.commands.find(command => command.name() === name);
  expect(alone?.helpInformation()).toBe(among?.helpInformation());
});

it('loads all commands for what is none, such as a misspelt name, and none for the version', async () => {
  for (const name of ['bakcup', 'help', '--help', 'constructor', '']) {
    expect((await createProgram(name)).commands.map(command => command.name())).toEqual(names);
  }
  expect((await createProgram('--version')).commands).toEqual([]);
});

it('loads one command, not its neighbours', async () => {
  expect((await createProgram('list')).commands.map(command => command.name())).toEqual(['list']);
});
