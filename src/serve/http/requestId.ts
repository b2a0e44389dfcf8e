import type { RandomStream } from '../../core/random.ts'

const LETTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** A name for a request or an answer: 24 letters and digits, about 142 bits. It is no secret. */
export function newRequestId(random: RandomStream): string {
  return Array.from({ length: 24 }, () => LETTERS[random.integer(LETTERS.length)]).join('')
}
