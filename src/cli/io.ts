import type { Clock } from '../core/clock.ts'

/** Where a command's text goes; a subset of a Node writable stream. */
interface Output {
  write(text: string): unknown
}

/** All that a command may touch of the outside besides the files its options name. */
export interface Io {
  readonly stdout: Output
  readonly stderr: Output
  /** Whether stdout is a terminal: decides colour and table borders. */
  readonly isTerminal: boolean
  /** Width of that terminal in characters; absent: 80. */
  readonly columns?: () => number
  /** Whether stderr is a terminal: decides how progress is drawn. */
  readonly isProgressTerminal: boolean
  /** Whether stdout takes colour: a terminal, and NO_COLOR is unset. */
  readonly colour: boolean
  /** Standard input, where there is one. */
  readonly input?: () => AsyncIterable<Uint8Array>
  readonly clock: Clock
  readonly env: Readonly<Record<string, string | undefined>>
  /**
   * Aborted at the first Ctrl-C. A long command checks it between steps and must return to the event
   * loop now and then, otherwise nobody hears the key.
   */
  readonly signal: AbortSignal
  /**
   * Registers work to be done at the end, however it comes: normal, error, Ctrl-C or SIGTERM. Last in, first out.
   * After a signal the process ends anyway once the longest `withinSeconds` (5 where none is said) is over: one that
   * drains says how long that may take.
   */
  onExit(cleanup: () => void | Promise<void>, withinSeconds?: number): void
}

/** Prints one line to standard output. */
export function printLine(io: Io, text = ''): void {
  io.stdout.write(`${text}\n`)
}

/** Prints a value as JSON: what `--json` promises. NaN and infinities become null. */
export function printJson(io: Io, value: unknown): void {
  io.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

/** Prints a hint that stands apart from the result; silent when the output is piped. */
export function printHint(io: Io, text: string): void {
  if (io.isTerminal) printLine(io, text)
}
