import { chance, drawPlace, drawTime, pick } from './cast.ts'
import type { Cast } from './cast.ts'
import { FEELINGS, NUMBERS, article, capital, counted, plural } from './words.ts'

/** The events of a tale, and the questions that may be asked about it. */
interface Story {
  readonly sentences: readonly string[]
  readonly questions: readonly Question[]
}

/** A question with its answer. */
export interface Question {
  readonly ask: string
  readonly answer: string
}

/** Draws the events of a tale for a cast. */
type Plot = (cast: Cast) => Story

/** The hero gives some of the counted goods away. */
const sharing: Plot = ({ stream, hero, friend, good, goal }) => {
  const had = 2 + stream.integer(5)
  const given = 1 + stream.integer(had - 1)
  const left = had - given
  return {
    sentences: [
      `${hero.name} had ${counted(had, good)}.`,
      `${drawTime(stream)} ${hero.he} met ${friend.name} at the ${goal}.`,
      `"I am ${pick(stream, FEELINGS)}," said ${friend.name}.`,
      `So ${hero.name} gave ${friend.him} ${counted(given, good)} and kept ${NUMBERS[left]}.`,
    ],
    questions: [
      { ask: `How many ${plural(good)} did ${hero.name} keep?`, answer: NUMBERS[left] },
      { ask: `How many ${plural(good)} did ${friend.name} get?`, answer: NUMBERS[given] },
      { ask: `Where did ${hero.name} meet ${friend.name}?`, answer: `at the ${goal}` },
    ],
  }
}

/** The hero loses a treasure, the friend finds it. */
const loss: Plot = ({ stream, hero, friend, goal }) => {
  const thing = `${hero.color} ${hero.treasure}`
  const hideout = drawPlace(stream)
  const words = [
    `"Have you seen my ${hero.treasure}?" ${hero.he} asked ${friend.name}.`,
    `"Where is my ${thing}?" cried ${hero.name}.`,
  ]
  return {
    sentences: [
      `${hero.name} had ${article(thing)}.`,
      `${drawTime(stream)} ${hero.he} went to the ${goal} and lost it.`,
      pick(stream, words),
      `${friend.name} looked for the ${hero.treasure} and found it ${hideout}.`,
      `"Thank you, ${friend.name}," said ${hero.name}.`,
    ],
    questions: [
      { ask: `Who found the ${hero.treasure}?`, answer: friend.name },
      { ask: `Who lost the ${hero.treasure}?`, answer: hero.name },
      { ask: `Where was the ${hero.treasure}?`, answer: hideout },
      { ask: `What color was the ${hero.treasure}?`, answer: hero.color },
    ],
  }
}

/** Both give away what they have. */
const trade: Plot = ({ stream, hero, friend, goal }) => {
  const [mine, yours] = [hero, friend].map(({ color, treasure }) => `${color} ${treasure}`)
  return {
    sentences: [
      `${hero.name} had ${article(mine)} and ${friend.name} had ${article(yours)}.`,
      `${drawTime(stream)} they met at the ${goal}.`,
      `"I like your ${friend.treasure}," said ${hero.name}.`,
      `So ${hero.name} took the ${yours} and ${friend.name} took the ${mine}.`,
    ],
    questions: [
      { ask: `Who has the ${hero.treasure} now?`, answer: friend.name },
      { ask: `Who has the ${friend.treasure} now?`, answer: hero.name },
      { ask: `What color is the ${hero.treasure}?`, answer: hero.color },
      { ask: `What color is the ${friend.treasure}?`, answer: friend.color },
    ],
  }
}

/** Both gather, and count together. */
const gathering: Plot = ({ stream, hero, friend, good, goal }) => {
  const mine = 1 + stream.integer(4)
  const yours = 1 + stream.integer(4)
  return {
    sentences: [
      `${drawTime(stream)} they went to the ${goal} to look for ${plural(good)}.`,
      `${hero.name} found ${counted(mine, good)} and ${friend.name} found ${counted(yours, good)}.`,
      `Together they had ${counted(mine + yours, good)}.`,
    ],
    questions: [
      { ask: `How many ${plural(good)} did ${hero.name} find?`, answer: NUMBERS[mine] },
      { ask: `How many ${plural(good)} did ${friend.name} find?`, answer: NUMBERS[yours] },
      { ask: `How many ${plural(good)} did they find together?`, answer: NUMBERS[mine + yours] },
    ],
  }
}

const TROUBLES = [
  'could not find the way home',
  'had hurt a foot',
  'was afraid of the dark',
  'had lost a shoe',
]

/** The friend is in need and gives thanks with a treasure. */
const rescue: Plot = ({ stream, hero, friend, goal }) => {
  const thing = `${friend.color} ${friend.treasure}`
  const help = chance(stream, 0.5)
    ? `took ${friend.him} by the hand`
    : `stayed with ${friend.him} for an hour`
  return {
    sentences: [
      `${drawTime(stream)} ${hero.name} heard a cry from the ${goal}.`,
      `It was ${friend.name}, who ${pick(stream, TROUBLES)}.`,
      `${hero.name} ${help} and brought ${friend.him} home.`,
      `${friend.name} gave ${hero.him} ${article(thing)} to thank ${hero.him}.`,
    ],
    questions: [
      { ask: `What did ${friend.name} give to ${hero.name}?`, answer: article(thing) },
      { ask: `Who was at the ${goal}?`, answer: friend.name },
      { ask: `Who has the ${friend.treasure} now?`, answer: hero.name },
    ],
  }
}

/** Everything that can happen. */
export const PLOTS: readonly Plot[] = [sharing, loss, trade, gathering, rescue]

/** A question and its answer on one line. */
export function asked({ ask, answer }: Question): string {
  return `${ask} ${capital(answer)}.`
}
