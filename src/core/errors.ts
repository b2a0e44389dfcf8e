/**
 * Errors that a user can act on. Each has a class, a stable code and a process exit code; any other error that escapes
 * is a defect and prints its stack.
 */

/** Base class of all expected errors. */
export class EdgewiseError extends Error {
  readonly code: string
  readonly exitCode: number

  constructor(code: string, message: string, options: { cause?: unknown; exitCode?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.code = code
    this.exitCode = options.exitCode ?? 1
  }
}

/** What an InputError reports. */
export interface InputProblem {
  /** File, flag or field that is wrong, e.g. `links.csv:17` or `--rtt-ms`. */
  where: string
  expected: string
  found: string
  /** What the user can do about it. */
  remedy?: string
}

/** Wrong input. The message says where, what was expected, what was found and what to do. Exit code 2. */
export class InputError extends EdgewiseError {
  readonly problem: InputProblem

  constructor(problem: InputProblem, options: { cause?: unknown } = {}) {
    const remedy = problem.remedy === undefined ? '' : `\n  remedy: ${problem.remedy}`
    super(
      'E_INPUT',
      `${problem.where}\n  expected: ${problem.expected}\n  found: ${problem.found}${remedy}`,
      { ...options, exitCode: 2 },
    )
    this.problem = problem
  }
}

/** A stored artifact whose checksum or signature does not match its bytes. Exit code 3. */
export class IntegrityError extends EdgewiseError {
  constructor(where: string, expected: string, found: string) {
    super('E_INTEGRITY', `${where}\n  expected: ${expected}\n  found: ${found}`, { exitCode: 3 })
  }
}

/**
 * Text of a peer for one line of output: control characters, line separators, marks that reorder text and what is no
 * character become `?`, so that it can neither begin a line of its own nor steer a terminal. At most `limit` characters.
 */
export function printable(text: string, limit = 200): string {
  const clean = text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, '?')
  return clean.length <= limit ? clean : `${clean.slice(0, limit - 1)}…`
}

/** Formats a value for an error message, at most `limit` characters long. */
export function show(value: unknown, limit = 80): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`
}
