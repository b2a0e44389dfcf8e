import type { RandomStream } from '../../core/random.ts'
import { drawCast, pick } from './cast.ts'
import type { Cast, Person } from './cast.ts'
import { asked } from './plots.ts'
import type { Question } from './plots.ts'
import { NUMBERS, article, counted, plural } from './words.ts'

interface Fact {
  readonly told: string
  readonly questions: readonly Question[]
}

/**
 * Draws a note: one fact about each of two people, and questions about both. A short form of a tale, about 100
 * characters, in which the fact to recall is near: for the beginning of a training.
 */
export function drawNote(stream: RandomStream): string {
  const cast = drawCast(stream)
  const fact = pick(stream, FACTS)
  const facts = [cast.hero, cast.friend].map((person) => fact(cast, person))
  const questions = facts.flatMap((one) => one.questions)
  const lines = Array.from({ length: 2 + stream.integer(2) }, () => asked(pick(stream, questions)))
  return `${[facts.map((one) => one.told).join(' '), ...lines].join('\n')}\n`
}

const treasure = (_: Cast, { name, color, treasure }: Person): Fact => ({
  told: `${name} had ${article(`${color} ${treasure}`)}.`,
  questions: [
    { ask: `Who had the ${treasure}?`, answer: name },
    { ask: `What color was the ${treasure}?`, answer: color },
    { ask: `What did ${name} have?`, answer: article(`${color} ${treasure}`) },
  ],
})

const home = (_: Cast, { name, kind, home }: Person): Fact => ({
  told: `${name} was ${article(kind)} who lived ${home}.`,
  questions: [
    { ask: `Where did ${name} live?`, answer: home },
    { ask: `Where did the ${kind} live?`, answer: home },
    { ask: `Who was the ${kind}?`, answer: name },
  ],
})

const count = ({ stream, good }: Cast, { name }: Person): Fact => {
  const found = 1 + stream.integer(5)
  return {
    told: `${name} found ${counted(found, good)}.`,
    questions: [{ ask: `How many ${plural(good)} did ${name} find?`, answer: NUMBERS[found] }],
  }
}

const FACTS = [treasure, home, count]
