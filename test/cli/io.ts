import type { Io } from '../../src/cli/io.ts'

export interface RecordedIo extends Io {
  /** Text so far. */
  out(): string
  err(): string
  interrupt(): void
  readonly cleanups: (() => void | Promise<void>)[]
}

/** An Io that records, with a clock that stands still unless told. */
export function recordIo(overrides: Partial<Io> = {}): RecordedIo {
  const text = { out: '', err: '' }
  const abort = new AbortController()
  const cleanups: (() => void | Promise<void>)[] = []
  return {
    stdout: { write: (more) => (text.out += more) },
    stderr: { write: (more) => (text.err += more) },
    isTerminal: false,
    isProgressTerminal: false,
    colour: false,
    clock: { nowSeconds: () => 0, wallTime: () => '2026-01-01T00:00:00.000Z' },
    env: {},
    signal: abort.signal,
    onExit: (cleanup) => cleanups.push(cleanup),
    out: () => text.out,
    err: () => text.err,
    interrupt: () => abort.abort(),
    cleanups,
    ...overrides,
  }
}
