/** The words of the tales; their letters are those of ALPHABET (text.ts). */

export interface Pronouns {
  readonly he: string
  readonly him: string
  readonly his: string
}

export const SHE: Pronouns = { he: 'she', him: 'her', his: 'her' }
export const HE: Pronouns = { he: 'he', him: 'him', his: 'his' }

export const GIRLS = words(
  'Ada Bella Clara Daisy Ella Flora Greta Hazel Iris Julia Kate Lily Mia Nora Olive Rosa Stella Thea Una Vera Willa Zoe',
)
export const BOYS = words(
  'Adam Ben Carl David Emil Finn George Hugo Ivan Jack Kurt Leo Max Noah Oscar Peter Quentin Ralph Simon Tom Victor Will',
)
/** Names that are made up: one of each, in this order. They can be copied, never known by heart. */
export const NAME_PARTS = [
  words('B Br D Dr F G Gr K Kl L M N P Pr R S St T Tr V W Y Z'),
  words('a e i o u ai ei'),
  words('b d f g k l ll m n nn p r rr s t v z'),
  words('a e i o u an el en ik il in is or us'),
]

export const KINDS = words(
  'fox rabbit bear owl mouse goat cat dog wolf hen duck frog horse crow snail turtle baker miller farmer sailor ' +
    'painter gardener fisher tailor teacher singer hunter doctor knight wizard dancer king queen',
)
/** Kinds that go with one pronoun only. */
export const KIND_PRONOUNS: Readonly<Record<string, Pronouns>> = { king: HE, queen: SHE }

export const CHARACTERS = words(
  'small kind brave clever shy old young happy quiet curious proud gentle lazy merry honest tired lonely funny wise ' +
    'grumpy patient polite rich poor careful',
)

export const PREPOSITIONS = words('by near under behind beside above')
export const PLACE_KINDS = words(
  'old tall green little white deep quiet red broken stone wooden dark sunny wide',
)
export const PLACES = words(
  'mill river oak hill wood house lake village church well bridge tower wall gate road cave barn fountain inn mountain',
)
/** Where people go to. */
export const GOALS = words(
  'market forest school castle garden harbor meadow station library island valley beach circus farm museum palace',
)

/** Things that are counted. */
export const GOODS = words(
  'apple pear plum nut cake egg shell button coin candle marble carrot cookie ribbon lemon onion feather stamp nail ' +
    'spoon mushroom bean flower pebble',
)
/** Things of which there is one. */
export const TREASURES = words(
  'kite hat lamp drum key boat ball bell scarf book ring cup flute basket clock mirror umbrella ladder violin map ' +
    'lantern coat pillow box knife wheel crown mask bottle chair',
)
export const COLORS = words('red blue green yellow white black golden silver brown pink purple gray orange')

export const MOMENTS = words('morning day evening night afternoon')
export const SEASONS = words('spring summer autumn winter')
export const MOODS = words('fine cold warm windy bright rainy gray dark')

/** Who and what is seen beside the story: adjective, noun, verb in the past, where to. */
export const SCENE = {
  adjectives: words(
    'white gray small noisy golden heavy hungry soft strange tiny wild pale fat silent sleepy bright',
  ),
  nouns: words(
    'bird cloud cow bee sheep gull swan star leaf wagon butterfly ship squirrel pigeon snowflake kitten',
  ),
  verbs: words(
    'flew fell rolled danced wandered sailed drifted slept waited sang jumped climbed hid rested turned ran',
  ),
  places: words('roofs fields trees waves stones houses clouds hills flowers reeds chimneys fences'),
  prepositions: words('over between among above behind near'),
}
/** Plurals that take no plain s. */
const PLURALS: Readonly<Record<string, string>> = {
  leaf: 'leaves',
  butterfly: 'butterflies',
  sheep: 'sheep',
  box: 'boxes',
}

export const NUMBERS = words('zero one two three four five six seven eight nine ten eleven twelve')

export const FEELINGS = words('hungry thirsty curious happy sad cold angry sleepy glad sorry')

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
