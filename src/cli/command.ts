import type { Command } from 'commander'
import type { Io } from './io.ts'

/**
 * One command. `configure` declares arguments, options and examples; `run` does the work and returns
 * the exit code (nothing means 0). `args` are the positional arguments as typed.
 */
export interface CliCommand<Options = Record<string, unknown>> {
  readonly name: string
  readonly summary: string
  configure(command: Command): void
  run(options: Options, io: Io, args: readonly string[]): Promise<number | void> | number | void
}

/** A command that only groups others, e.g. `trace import`. */
export interface CliGroup {
  readonly name: string
  readonly summary: string
  readonly entries: readonly CliEntry[]
}

/** What the top level knows without loading the command: loading may pull in a native engine. */
export interface CliEntry {
  readonly name: string
  readonly summary: string
  /** Not listed: for this program's own use. */
  readonly hidden?: boolean
  load(): Promise<AnyCommand | CliGroup>
}

// Options are checked by the command's own schema; the framework passes them through untyped.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type AnyCommand = CliCommand<any>

/** Adds `Examples:` to a command's help. Each example is [what it does, the command line without `edgewise`]. */
export function addExamples(command: Command, examples: readonly (readonly [string, string])[]): void {
  const lines = examples.map(([what, line]) => `  # ${what}\n  $ edgewise ${line}`)
  command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`)
}

/** Adds `--json`, which every reporting command has. */
export function addJson(command: Command): Command {
  return command.option('--json', 'print machine-readable JSON instead of a table')
}
