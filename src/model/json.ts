import { InputError } from '../core/errors.ts'
import { parseJson } from '../core/schema.ts'

/** What a text holds outside its strings, if it is JSON. */
export interface JsonShape {
  /** Deepest nesting of objects and arrays. */
  readonly depth: number
  /** Keys of all objects, those that occur twice counted twice. */
  readonly keys: number
}

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

/** A JSON object of at most `maxDepth` levels: deeper ones would exhaust the stack of whoever walks them. */
export function parseObject(text: string, where: string, maxDepth: number): object {
  const { depth } = jsonShape(text)
  if (depth > maxDepth) {
    throw new InputError({ where, expected: `JSON of at most ${maxDepth} levels`, found: `${depth} levels` })
  }
  const value = parseJson(text, where)
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value
  throw new InputError({ where, expected: 'a JSON object', found: 'another value' })
}
