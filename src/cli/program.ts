import { Command, CommanderError } from 'commander'
import { EdgewiseError } from '../core/errors.ts'
import { fileProblem } from '../core/fileErrors.ts'
import type { AnyCommand, CliEntry, CliGroup } from './command.ts'
import type { Io } from './io.ts'

const EXIT_OK = 0
const EXIT_INPUT = 2
const EXIT_DEFECT = 70
/** Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT. */
export const EXIT_INTERRUPTED = 130

/**
 * Runs one command line (without node and script) and returns the exit code. Expected errors print
 * their message; unexpected ones their stack. Nothing here ends the process.
 */
export async function runCli(
  argv: readonly string[],
  io: Io,
  entries: readonly CliEntry[],
  version: string,
): Promise<number> {
  const state = { code: EXIT_OK }
  try {
    const program = new Command('edgewise')
      .description(
        'Decides, and carries out, where each part of a large language model runs: on an edge device or in a cloud.',
      )
      .version(version, '-V, --version', 'print the version')
      .option('--no-color', 'never colour the output (also: the NO_COLOR variable)')
    settle(program, io)
    await declare(program, entries, argv, io, state)
    if (argv.length === 0) program.outputHelp()
    else await program.parseAsync(argv, { from: 'user' })
    return state.code
  } catch (error) {
    return reportError(error, io)
  }
}

/** Adds the entries; only the one that is called is loaded. */
async function declare(
  parent: Command,
  entries: readonly CliEntry[],
  argv: readonly string[],
  io: Io,
  state: { code: number },
): Promise<void> {
  const words = argv.filter((word) => !word.startsWith('-'))
  const called = words[0] === 'help' ? words[1] : words[0]
  for (const entry of entries) {
    const command = new Command(entry.name).summary(entry.summary).description(entry.summary)
    settle(command, io)
    parent.addCommand(command, { hidden: entry.hidden === true })
    if (entry.name !== called) continue
    const loaded = await entry.load()
    if (isGroup(loaded))
      await declare(command, loaded.entries, argv.slice(argv.indexOf(called) + 1), io, state)
    else attach(command, loaded, io, state)
  }
  // Without this, --help beside a word that is no command would be answered with the help of the parent.
  if (called !== undefined && !entries.some(({ name }) => name === called)) {
    await parent.parseAsync([called], { from: 'user' })
  }
}

function attach(command: Command, module: AnyCommand, io: Io, state: { code: number }): void {
  module.configure(command)
  command.action(async () => {
    state.code = (await module.run(command.opts(), io, command.args)) ?? EXIT_OK
  })
}

function isGroup(loaded: AnyCommand | CliGroup): loaded is CliGroup {
  return 'entries' in loaded
}

function settle(command: Command, io: Io): void {
  command
    .exitOverride()
    .showHelpAfterError('(add --help for options and examples)')
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      getOutHasColors: () => io.colour,
      getErrHasColors: () => false,
    })
}

/** Prints an error as the command line does, and returns its exit code. */
export function reportError(error: unknown, io: Io): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_INPUT
  if (error instanceof EdgewiseError) {
    io.stderr.write(`error: ${error.message}\n`)
    return error.exitCode
  }
  if (isAbort(error) && io.signal.aborted) return EXIT_INTERRUPTED
  const problem = fileProblem(error)
  if (problem !== null) return reportError(problem, io)
  io.stderr.write(`unexpected error (a defect in edgewise):\n${stackOf(error)}\n`)
  return EXIT_DEFECT
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : `\ncaused by: ${stackOf(error.cause)}`
  return (error.stack ?? error.message) + cause
}
