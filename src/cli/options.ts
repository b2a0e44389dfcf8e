import { InvalidArgumentError } from 'commander'
import { InputError, show } from '../core/errors.ts'

interface Range {
  readonly min?: number
  readonly max?: number
  /** Whether min itself is refused. */
  readonly exclusiveMin?: boolean
}

/** Parser of a finite number within a range, for commander's option(). */
export function numberOption(range: Range = {}): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (!Number.isFinite(value) || !within(value, range)) throw refuse(`a number${describe(range)}`, text)
    return value
  }
}

/** Parser of an integer within a range. */
export function integerOption(range: Range = {}): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (!Number.isSafeInteger(value) || !within(value, range))
      throw refuse(`an integer${describe(range)}`, text)
    return value
  }
}

/** Parser of comma-separated integers, e.g. `1,16,256`. */
export function integersOption(range: Range = {}): (text: string) => number[] {
  const one = integerOption(range)
  return (text) => text.split(',').map((part) => one(part.trim()))
}

/** Parser of `name=number` pairs, e.g. `latency=1,energy=0`; the names must be known. */
export function weightsOption(names: readonly string[]): (text: string) => Record<string, number> {
  return (text) => {
    const weights: Record<string, number> = {}
    for (const part of text.split(',')) {
      const [name, value, ...rest] = part.split('=')
      const key = name.trim()
      const number = value === undefined || value.trim() === '' ? Number.NaN : Number(value)
      if (!names.includes(key) || rest.length > 0 || !Number.isFinite(number) || number < 0) {
        throw refuse(`name=number pairs, number >= 0, name one of ${names.join(', ')}`, part)
      }
      weights[key] = number
    }
    return weights
  }
}

/** Collects a repeatable option's values. */
export function collect(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text]
}

/** A choice checked after parsing; names the flag and the choices. */
export function requireChoice<T extends string>(flag: string, value: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value)
  if (found !== undefined) return found
  throw new InputError({ where: flag, expected: `one of ${choices.join(', ')}`, found: show(value) })
}

function within(value: number, { min, max, exclusiveMin }: Range): boolean {
  if (min !== undefined && (exclusiveMin === true ? value <= min : value < min)) return false
  return max === undefined || value <= max
}

function describe({ min, max, exclusiveMin }: Range): string {
  const low = min === undefined ? '' : exclusiveMin === true ? ` > ${min}` : ` >= ${min}`
  const high = max === undefined ? '' : `${low === '' ? '' : ' and'} <= ${max}`
  return low + high
}

function refuse(expected: string, found: string): InvalidArgumentError {
  return new InvalidArgumentError(`\n  expected: ${expected}\n  found: ${show(found)}`)
}
