import type { RandomStream } from '../../core/random.ts'
import {
  BOYS,
  CHARACTERS,
  COLORS,
  GIRLS,
  GOALS,
  GOODS,
  HE,
  KINDS,
  KIND_PRONOUNS,
  MOMENTS,
  MOODS,
  PLACES,
  PLACE_KINDS,
  PREPOSITIONS,
  SCENE,
  SEASONS,
  SHE,
  TREASURES,
  capital,
  plural,
} from './words.ts'
import type { Pronouns } from './words.ts'

/** A person in a tale, and the facts about them that the tale must recall. */
export interface Person extends Pronouns {
  readonly name: string
  readonly kind: string
  readonly character: string
  /** For example "under the tall oak". */
  readonly home: string
  readonly color: string
  readonly treasure: string
}

/** What a tale is about: two people who differ in everything, a place to go to, something to count. */
export interface Cast {
  readonly stream: RandomStream
  readonly hero: Person
  readonly friend: Person
  readonly goal: string
  readonly good: string
}

/** Draws the people, place and goods of a tale. */
export function drawCast(stream: RandomStream): Cast {
  const hero = drawPerson(stream, null)
  const friend = drawPerson(stream, hero)
  return { stream, hero, friend, goal: pick(stream, GOALS), good: pick(stream, GOODS) }
}

function drawPerson(stream: RandomStream, other: Person | null): Person {
  const kind = unlike(other?.kind, () => pick(stream, KINDS))
  const pronouns = KIND_PRONOUNS[kind] ?? (stream.integer(2) === 0 ? SHE : HE)
  return {
    ...pronouns,
    kind,
    name: unlike(other?.name, () => pick(stream, pronouns === SHE ? GIRLS : BOYS)),
    character: unlike(other?.character, () => pick(stream, CHARACTERS)),
    home: unlike(other?.home, () => drawPlace(stream)),
    color: unlike(other?.color, () => pick(stream, COLORS)),
    treasure: unlike(other?.treasure, () => pick(stream, TREASURES)),
  }
}

/** Draws a place where something lives or lies: "behind the white church". */
export function drawPlace(stream: RandomStream): string {
  return `${pick(stream, PREPOSITIONS)} the ${pick(stream, PLACE_KINDS)} ${pick(stream, PLACES)}`
}

/** Draws a time: "One cold evening". */
export function drawTime(stream: RandomStream): string {
  const moment = pick(stream, MOMENTS)
  if (chance(stream, 0.2)) return `In the ${pick(stream, SEASONS)}`
  return chance(stream, 0.3) ? `The next ${moment}` : `One ${pick(stream, MOODS)} ${moment}`
}

/** Draws a sentence of scenery whose verb and pronoun agree with its subject: "A pale star hid behind the clouds." */
export function drawScene(stream: RandomStream): string {
  const { adjectives, nouns, verbs, places, prepositions } = SCENE
  const [adjective, noun] = [pick(stream, adjectives), pick(stream, nouns)]
  const where = `${pick(stream, prepositions)} the ${pick(stream, places)}`
  const several = chance(stream, 0.5)
  const subject = several
    ? `${capital(pick(stream, COUNTS))} ${adjective} ${plural(noun)}`
    : `The ${adjective} ${noun}`
  if (chance(stream, 0.5)) return `${subject} ${pick(stream, verbs)} ${where}.`
  return `${subject} ${several ? 'were' : 'was'} ${where}.`
}

const COUNTS = ['two', 'three', 'many', 'some']

/** Draws one of the choices. */
export function pick<T>(stream: RandomStream, choices: readonly T[]): T {
  return choices[stream.integer(choices.length)]
}

/** True with this probability. */
export function chance(stream: RandomStream, probability: number): boolean {
  return stream.uniform() < probability
}

/** Draws until the result differs from `taken`. */
function unlike(taken: string | undefined, draw: () => string): string {
  let drawn = draw()
  while (drawn === taken) drawn = draw()
  return drawn
}
