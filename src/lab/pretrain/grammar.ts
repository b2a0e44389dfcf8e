import type { RandomStream } from '../../core/random.ts'
import { chance, drawCast, drawScene, pick } from './cast.ts'
import type { Cast, Person } from './cast.ts'
import { PLOTS, asked } from './plots.ts'
import type { Question } from './plots.ts'
import { MORALS, article, capital } from './words.ts'

/** Longest tale in characters, so that with its begin and end tokens it fits into a context of 512. */
export const TALE_LIMIT = 510

/**
 * Draws one tale: two people are introduced, something happens to them, and questions about it are asked and answered.
 * Most letters follow from their word; the word itself depends on text up to a few hundred characters before (names,
 * pronouns, places, colours, numbers) or cannot be predicted. Ends with a newline.
 */
export function drawTale(stream: RandomStream): string {
  for (;;) {
    const tale = compose(drawCast(stream))
    if (tale.length <= TALE_LIMIT) return tale
  }
}

function compose(cast: Cast): string {
  const { stream, hero, friend } = cast
  const { sentences, questions } = pick(stream, PLOTS)(cast)
  const scenes = chance(stream, 0.6) ? [drawScene(stream)] : []
  const last = chance(stream, 0.5) ? [ending(stream, hero, friend)] : []
  const story = [
    introduction(stream, hero),
    ...scenes,
    acquaintance(stream, hero, friend),
    ...sentences,
    ...last,
  ]
  return `${[story.join(' '), ...ask(stream, [...questions, ...homeQuestions(hero, friend)])].join('\n')}\n`
}

function introduction(stream: RandomStream, { name, kind, character, home, he }: Person): string {
  const who = `${article(character)} ${kind}`
  return pick(stream, [
    `Once there was ${who} named ${name} who lived ${home}.`,
    `Long ago, ${who} lived ${home}. ${capital(he)} was called ${name}.`,
    `${name} was ${who} who lived ${home}.`,
    `There was ${who}. ${capital(he)} was called ${name} and lived ${home}.`,
  ])
}

function acquaintance(stream: RandomStream, hero: Person, { name, kind, character, home }: Person): string {
  const who = `${article(character)} ${kind}`
  return pick(stream, [
    `${capital(hero.his)} friend ${name}, ${who}, lived ${home}.`,
    `${capital(hero.he)} had a friend, ${who} named ${name}, who lived ${home}.`,
    `${capital(home)} lived ${hero.his} friend ${name}, ${who}.`,
  ])
}

function ending(stream: RandomStream, hero: Person, friend: Person): string {
  const choice = stream.integer(4)
  if (choice === 0) return pick(stream, MORALS)
  if (choice === 1) return `Then ${friend.name} went home and ${hero.name} slept well.`
  if (choice === 2) return `And ${hero.name} never forgot it.`
  return drawScene(stream)
}

function homeQuestions(hero: Person, friend: Person): Question[] {
  return [hero, friend].map(({ name, home }) => ({ ask: `Where did ${name} live?`, answer: home }))
}

/** One or two different questions with their answers, one line each. */
function ask(stream: RandomStream, questions: readonly Question[]): string[] {
  const left = [...questions]
  return Array.from({ length: 1 + stream.integer(2) }, () =>
    asked(left.splice(stream.integer(left.length), 1)[0]),
  )
}
