import { InputError } from '../core/errors.ts'
import { parseJson } from '../core/schema.ts'

/** Structure of a JSON text, ignoring the contents of strings. */
interface JsonShape {
  /** Deepest nesting of objects and arrays. */
  readonly depth: number
  /** Number of keys in all objects, counting repeated keys each time. */
  readonly keys: number
}

/** Measures a JSON text without parsing it. */
export function jsonShape(text: string): JsonShape {
  let [depth, deepest, keys] = [0, 0, 0]
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (quoted) {
      if (c === '\\') i++
      else if (c === '"') quoted = false
    } else if (c === '"') quoted = true
    else if (c === ':') keys++
    else if (c === '{' || c === '[') deepest = Math.max(deepest, ++depth)
    else if (c === '}' || c === ']') depth--
  }
  return { depth: deepest, keys }
}

/** Parses a JSON object of at most `maxDepth` levels; a deeper one would exhaust the stack of recursive code. */
export function parseObject(text: string, where: string, maxDepth: number): object {
  const { depth } = jsonShape(text)
  if (depth > maxDepth) {
    throw new InputError({ where, expected: `JSON of at most ${maxDepth} levels`, found: `${depth} levels` })
  }
  const value = parseJson(text, where)
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value
  throw new InputError({ where, expected: 'a JSON object', found: 'another value' })
}
