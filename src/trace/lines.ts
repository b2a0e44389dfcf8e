import { InputError, show } from '../core/errors.ts'
import { quantile } from '../core/quantile.ts'

/** A line of a text file. */
export interface Line {
  /** Line number, from 1. */
  readonly number: number
  readonly text: string
}

/** Lines that are not blank, without line ends (LF or CRLF) and byte order mark. */
export function* linesOf(text: string): Generator<Line> {
  let number = 0
  let start = text.charCodeAt(0) === 0xfeff ? 1 : 0
  while (start < text.length) {
    let end = text.indexOf('\n', start)
    if (end < 0) end = text.length
    number++
    const line = text.slice(start, end).trim()
    if (line !== '') yield { number, text: line }
    start = end + 1
  }
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/

/**
 * Parses a plain decimal number; NaN for anything else, including '', '0x10' and 'Infinity', which Number() accepts.
 */
export function decimal(text: string): number {
  return NUMBER.test(text) ? Number(text) : NaN
}

/** A growing array of floats that doubles its capacity; a plain array would box its values. */
export class Column {
  private values = new Float64Array(64)
  length = 0

  push(value: number): void {
    if (this.length === this.values.length) {
      const wider = new Float64Array(2 * this.length)
      wider.set(this.values)
      this.values = wider
    }
    this.values[this.length++] = value
  }

  last(): number {
    return this.values[this.length - 1]
  }

  at(index: number): number {
    return this.values[index]
  }

  set(index: number, value: number): void {
    this.values[index] = value
  }

  toArray(): Float64Array {
    return this.values.slice(0, this.length)
  }
}

/** InputError for one line of a file. */
export function lineError(
  where: string,
  line: number,
  expected: string,
  found: string,
  remedy?: string,
): InputError {
  return new InputError({
    where: `${where}:${line}`,
    expected,
    found: show(found),
    ...(remedy === undefined ? {} : { remedy }),
  })
}

/** InputError for a file that holds nothing usable. */
export function emptyError(where: string, expected: string): InputError {
  return new InputError({
    where,
    expected,
    found: 'none',
    remedy: 'check that this is the file that is meant',
  })
}

/** The median difference between neighbours; `times` has at least two ascending values. */
export function medianStep(times: Float64Array): number {
  const steps = new Float64Array(times.length - 1)
  for (let i = 0; i < steps.length; i++) steps[i] = times[i + 1] - times[i]
  steps.sort()
  return quantile(steps, 0.5)
}

/**
 * Text of a recording: UTF-8, or UTF-16 as Windows PowerShell writes it with `>` (known by its byte order mark, or by a
 * zero in every other byte). The byte order mark is left out.
 */
export function decodeText(bytes: Uint8Array): string {
  const [first, second] = bytes
  const isLittle = (first === 0xff && second === 0xfe) || (first > 0 && second === 0)
  const isBig = (first === 0xfe && second === 0xff) || (first === 0 && second > 0)
  return new TextDecoder(isLittle ? 'utf-16le' : isBig ? 'utf-16be' : 'utf-8').decode(bytes)
}
