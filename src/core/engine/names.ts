import { InputError } from '../errors.ts'
import type { Feeds, Insert, Resident, RunOptions } from './types.ts'

/** The input and output names of one run, checked against the session's. */
export interface RunNames {
  /** Number of this set of names in the session's cache of checked names. */
  readonly slot: number
  readonly feeds: readonly string[]
  readonly residents: readonly string[]
  readonly fetches: readonly string[]
  /** Names of the outputs that are inserted into residents. */
  readonly inserts: readonly string[]
  /** Names of all wanted outputs: fetches, then inserts. */
  readonly outputs: readonly string[]
  /** RunOptions.fetches as the caller passed it. */
  readonly wanted: readonly string[] | undefined
}

/** How many checked sets of names a session caches; the oldest is evicted. */
const slots = 16
const noResidents: Readonly<Record<string, Resident>> = {}
const noInserts: readonly Insert[] = []

/**
 * Checks the names of a session's runs, identically on every engine. A session is run with the same few sets of names
 * over and over, so checked sets are cached and recognised.
 */
export class NameChecker {
  private readonly inputNames: readonly string[]
  private readonly outputNames: readonly string[]
  private readonly known: RunNames[] = []
  private count = 0

  constructor(inputNames: readonly string[], outputNames: readonly string[]) {
    this.inputNames = inputNames
    this.outputNames = outputNames
  }

  /** Throws InputError for a name that the session does not have, that is missing, or that is given twice. */
  check(feeds: Feeds, options: RunOptions): RunNames {
    const { residents = noResidents, inserts = noInserts, fetches } = options
    for (const names of this.known) {
      if (
        areKeys(names.feeds, feeds) &&
        areKeys(names.residents, residents) &&
        areOutputs(names.inserts, inserts) &&
        areNames(names.wanted, fetches)
      )
        return names
    }
    return this.learn(Object.keys(feeds), Object.keys(residents), inserts, fetches)
  }

  private learn(
    feeds: readonly string[],
    residents: readonly string[],
    insertList: readonly Insert[],
    given: readonly string[] | undefined,
  ): RunNames {
    const inserts = insertList.map(({ output }) => output)
    const wanted = given === undefined ? undefined : [...given]
    const fetches = wanted ?? this.outputNames.filter((name) => !inserts.includes(name))
    this.checkInputs(feeds, residents)
    this.checkOutputs(fetches, inserts)
    const slot = this.count++ % slots
    const names = { slot, feeds, residents, fetches, inserts, outputs: [...fetches, ...inserts], wanted }
    this.known[slot] = names
    return names
  }

  private checkInputs(feeds: readonly string[], residents: readonly string[]): void {
    const given = [...feeds, ...residents]
    const { inputNames } = this
    const complete = given.length === inputNames.length && inputNames.every((name) => given.includes(name))
    if (complete) return
    throw new InputError({
      where: residents.length > 0 ? 'session feeds and residents' : 'session feeds',
      expected: inputNames.join(', '),
      found: given.join(', ') || 'nothing',
    })
  }

  private checkOutputs(fetches: readonly string[], inserts: readonly string[]): void {
    const refuse = (where: string, expected: string, found: readonly string[]): void => {
      throw new InputError({ where, expected, found: found.join(', ') || 'nothing' })
    }
    const one = `of ${this.outputNames.join(', ')}`
    const absent = (name: string): boolean => !this.outputNames.includes(name)
    if (fetches.some(absent)) refuse('session fetches', one, fetches.filter(absent))
    if (inserts.some(absent)) refuse('session inserts', one, inserts.filter(absent))
    if (fetches.length + inserts.length === 0) refuse('session fetches', `some ${one}`, [])
    const both = inserts.filter((name) => fetches.includes(name))
    if (both.length > 0) refuse('session inserts', 'outputs that are not also fetched', both)
  }
}

function areKeys(names: readonly string[], of: Readonly<Record<string, unknown>>): boolean {
  let i = 0
  for (const name in of) if (names[i++] !== name) return false
  return i === names.length
}

function areOutputs(names: readonly string[], inserts: readonly Insert[]): boolean {
  if (names.length !== inserts.length) return false
  for (let i = 0; i < names.length; i++) if (names[i] !== inserts[i].output) return false
  return true
}

function areNames(names: readonly string[] | undefined, given: readonly string[] | undefined): boolean {
  if (names === undefined || given === undefined) return names === given
  if (names.length !== given.length) return false
  for (let i = 0; i < names.length; i++) if (names[i] !== given[i]) return false
  return true
}
