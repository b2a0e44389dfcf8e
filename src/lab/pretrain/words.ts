/**
 * The words of the tales, in letters of ALPHABET (text.ts). The words of a list differ in their first letter, so that
 * one character determines the choice and the rest is spelling: a small model learns to recall a letter much sooner
 * than a string.
 */

export interface Pronouns {
  readonly he: string
  readonly him: string
  readonly his: string
}

export const SHE: Pronouns = { he: 'she', him: 'her', his: 'her' }
export const HE: Pronouns = { he: 'he', him: 'him', his: 'his' }

export const GIRLS = words('Ada Clara Ella Greta Iris Kate Mia Olive Rosa Una Willa')
export const BOYS = words('Ben David Finn Hugo Jack Leo Noah Peter Simon Tom Victor')

export const KINDS = words(
  'bear cat dog fox goat hen king lion mouse owl painter queen rabbit sailor teacher wolf',
)
/** Kinds that go with one pronoun only. */
export const KIND_PRONOUNS: Readonly<Record<string, Pronouns>> = { king: HE, queen: SHE }

export const CHARACTERS = words(
  'brave clever eager funny gentle happy jolly kind lazy merry nice old proud quiet rich small tired wise young',
)

export const PREPOSITIONS = words('above behind near under')
export const PLACE_KINDS = words(
  'broken deep far green high little narrow old pretty quiet red sunny tall white',
)
export const PLACES = words(
  'barn church dam fort gate hill inn lake mill oak pond river shop tower village wood yard',
)
/** Places that people go to. */
export const GOALS = words(
  'beach castle desert forest garden harbor island library market palace school theater valley zoo',
)

/** Things that are counted. */
export const GOODS = words(
  'apple button cake egg feather grape key lemon marble nut onion pear ribbon shell toy',
)
/** Things that are unique. */
export const TREASURES = words(
  'boat cup drum flute globe hat kite lamp mirror necklace pipe ring scarf trumpet umbrella violin wheel',
)
export const COLORS = words('blue crimson green orange purple red silver violet white yellow')

export const MOMENTS = words('morning day evening night')
export const SEASONS = words('spring summer autumn winter')
export const MOODS = words('bright cold dark fine gray rainy warm')

/** What is seen beside the story: adjective, noun, verb in the past tense, direction. */
export const SCENE = {
  adjectives: words('fat golden heavy lonely noisy pale soft tiny white'),
  nouns: words('bird cow gull kitten leaf pigeon sheep wagon'),
  verbs: words('climbed danced fell hid jumped rested sang turned waited'),
  places: words('clouds fields hills roofs stones trees waves'),
  prepositions: words('above behind near over'),
}
/** Plurals that are not formed with s. */
const PLURALS: Readonly<Record<string, string>> = { leaf: 'leaves', sheep: 'sheep' }

export const NUMBERS = words('zero one two three four five six seven eight nine ten eleven twelve')

export const FEELINGS = words('angry cold glad hungry sad thirsty')

export const MORALS = [
  'A good friend is worth more than gold.',
  'It is better to share than to keep.',
  'Those who look with care will find.',
  'Kind words cost nothing.',
  'Two can do more than one.',
  'Every road has an end.',
]

/** "a" or "an" before `word`. */
export function article(word: string): string {
  return `${/^[aeiou]/.test(word) ? 'an' : 'a'} ${word}`
}

/** "one pear", "three pears". */
export function counted(count: number, noun: string): string {
  return `${NUMBERS[count]} ${count === 1 ? noun : plural(noun)}`
}

export function plural(noun: string): string {
  return PLURALS[noun] ?? `${noun}s`
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

function words(text: string): readonly string[] {
  return text.split(' ')
}
