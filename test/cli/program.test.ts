import { describe, expect, it } from 'vitest'
import { EdgewiseError, InputError, IntegrityError } from '../../src/core/errors.ts'
import type { CliCommand, CliEntry } from '../../src/cli/command.ts'
import { addExamples, addJson } from '../../src/cli/command.ts'
import { printJson } from '../../src/cli/io.ts'
import { integerOption, numberOption, weightsOption } from '../../src/cli/options.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { recordIo } from './io.ts'

interface EchoOptions {
  json?: boolean
  rttMs?: number
  weights?: Record<string, number>
}

const echo: CliCommand<EchoOptions> = {
  name: 'echo',
  summary: 'print what was understood',
  configure(command) {
    command.argument('[words...]', 'any words')
    command.option('--rtt-ms <number>', 'round-trip time', numberOption({ min: 0 }))
    command.option('--count <number>', 'how many', integerOption({ min: 1, max: 9 }))
    command.option('--weights <pairs>', 'weights', weightsOption(['latency', 'energy']))
    addJson(command)
    addExamples(command, [['Say it twice', 'echo a b']])
  },
  run(options, io, args) {
    printJson(io, { options, args })
  },
}

function failing(error: unknown): CliCommand {
  return {
    name: 'fail',
    summary: 'fail',
    configure() {},
    run() {
      throw error
    },
  }
}

/** Entries that count how often each was loaded. */
function entries(error: unknown = new Error('no')): { list: CliEntry[]; loaded: string[] } {
  const loaded: string[] = []
  const entry = (name: string, load: () => ReturnType<CliEntry['load']>): CliEntry => ({
    name,
    summary: `the ${name} command`,
    load() {
      loaded.push(name)
      return load()
    },
  })
  const list = [
    entry('echo', async () => echo),
    entry('fail', async () => failing(error)),
    entry('tools', async () => ({
      name: 'tools',
      summary: 'tools',
      entries: [entry('inner', async () => echo)],
    })),
  ]
  return { list, loaded }
}

async function call(argv: string[], error?: unknown) {
  const io = recordIo()
  const { list, loaded } = entries(error)
  const code = await runCli(argv, io, list, '1.2.3')
  return { code, out: io.out(), err: io.err(), loaded }
}

describe('the command line', () => {
  it('passes options and arguments to the command', async () => {
    const result = await call([
      'echo',
      'a',
      'b',
      '--rtt-ms',
      '12.5',
      '--weights',
      'latency=1,energy=0.5',
      '--json',
    ])
    expect(result.code).toBe(0)
    expect(JSON.parse(result.out)).toEqual({
      options: { rttMs: 12.5, weights: { latency: 1, energy: 0.5 }, json: true },
      args: ['a', 'b'],
    })
  })

  it('loads only the command that is called', async () => {
    expect((await call(['--help'])).loaded).toEqual([])
    expect((await call([])).loaded).toEqual([])
    expect((await call(['echo'])).loaded).toEqual(['echo'])
    expect((await call(['help', 'echo'])).loaded).toEqual(['echo'])
    expect((await call(['tools', 'inner', 'x'])).loaded).toEqual(['tools', 'inner'])
  })

  it('runs a command of a group', async () => {
    const result = await call(['tools', 'inner', 'x'])
    expect(JSON.parse(result.out)).toEqual({ options: {}, args: ['x'] })
  })

  it('shows help with examples, and the version', async () => {
    const help = await call(['echo', '--help'])
    expect(help.code).toBe(0)
    expect(help.out).toContain('$ edgewise echo a b')
    expect((await call(['--version'])).out).toBe('1.2.3\n')
  })

  it('suggests a command for an unknown one, exit code 2', async () => {
    const result = await call(['ecko'])
    expect(result.code).toBe(2)
    expect(result.err).toContain('Did you mean echo?')
  })

  it.each([
    [['echo', '--rtt-ms', 'fast'], '--rtt-ms', 'a number >= 0', '"fast"'],
    [['echo', '--rtt-ms', '-1'], '--rtt-ms', 'a number >= 0', '"-1"'],
    [['echo', '--rtt-ms', ''], '--rtt-ms', 'a number >= 0', '""'],
    [['echo', '--count', '2.5'], '--count', 'an integer >= 1 and <= 9', '"2.5"'],
    [['echo', '--weights', 'latency=1,speed=2'], '--weights', 'latency, energy', 'speed=2'],
    [['echo', '--weights', 'latency'], '--weights', 'name=number', 'latency'],
  ])('refuses %j: place, expected and found, exit code 2', async (argv, place, expected, found) => {
    const result = await call(argv)
    expect(result.code).toBe(2)
    expect(result.out).toBe('')
    for (const part of [place, expected, found]) expect(result.err).toContain(part)
  })

  it('refuses an unknown option', async () => {
    const result = await call(['echo', '--rtt-mss', '1'])
    expect(result.code).toBe(2)
    expect(result.err).toContain('Did you mean --rtt-ms?')
  })
})

describe('errors', () => {
  it('of bad input print place, expected, found and remedy', async () => {
    const problem = { where: 'a.csv:3', expected: 'a number', found: '"x"', remedy: 'mend line 3' }
    const result = await call(['fail'], new InputError(problem))
    expect(result.code).toBe(2)
    for (const part of Object.values(problem)) expect(result.err).toContain(part)
    expect(result.err).not.toContain('    at ')
  })

  it('of other expected kinds exit with their own code', async () => {
    expect((await call(['fail'], new IntegrityError('a', 'b', 'c'))).code).toBe(3)
    expect((await call(['fail'], new EdgewiseError('E_X', 'x', { exitCode: 9 }))).code).toBe(9)
  })

  it('that nobody expected print their stack and exit 70', async () => {
    const result = await call(['fail'], new TypeError('broken', { cause: new Error('deep') }))
    expect(result.code).toBe(70)
    expect(result.err).toMatch(/TypeError: broken[\s\S]+ {4}at [\s\S]+caused by: Error: deep/)
  })

  it('of an abort after Ctrl-C exit 130', async () => {
    const io = recordIo()
    const abort = new Error('stopped')
    abort.name = 'AbortError'
    io.interrupt()
    expect(await runCli(['fail'], io, entries(abort).list, '0')).toBe(130)
    expect(io.err()).toBe('')
  })
})

describe('the registry', () => {
  it('agrees with the commands it loads, and every command has examples', async () => {
    for (const entry of COMMANDS) await checkEntry(entry, [])
  })

  async function checkEntry(entry: CliEntry, path: readonly string[]): Promise<void> {
    const loaded = await entry.load()
    const where = [...path, entry.name]
    expect(loaded.name, where.join(' ')).toBe(entry.name)
    expect(loaded.summary, where.join(' ')).toBe(entry.summary)
    if ('entries' in loaded) {
      for (const inner of loaded.entries) await checkEntry(inner, where)
      return
    }
    const io = recordIo()
    expect(await runCli([...where, '--help'], io, COMMANDS, '0')).toBe(0)
    expect(io.out(), where.join(' ')).toContain(`$ edgewise ${where.join(' ')}`)
  }
})

describe('a word that is no command', () => {
  it.each([
    ['foo', '--help'],
    ['--help', 'foo'],
    ['help', 'foo'],
    ['trace', 'foo', '--help'],
    ['trace', '--help', 'foo'],
    ['trian', '--help'],
  ])('is an error, with --help beside it too: %s %s %s', async (...argv) => {
    const io = recordIo()
    expect(
      await runCli(
        argv.filter((word) => word !== undefined),
        io,
        COMMANDS,
        '0.0.0',
      ),
    ).toBe(2)
    expect(io.err()).toMatch(/^error: unknown command '(foo|trian)'/)
    if (argv[0] === 'trian') expect(io.err()).toContain('Did you mean train?')
    expect(io.out()).toBe('')
  })
})
