import { parse as parseYaml } from 'yaml'
import { z } from 'zod'
import { InputError, show } from './errors.ts'
import { nameForeign } from './foreign.ts'
import { readText } from './files.ts'

/** A SHA-256 in JSON. */
export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/, 'a SHA-256: 64 lower-case hexadecimal digits')

/** Checks `value` against a schema. Throws InputError for the first problem, naming file and field. */
export function check<T>(schema: z.ZodType<T>, value: unknown, where: string, remedy?: string): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const place = issue.path.length === 0 ? where : `${where}: ${issue.path.join('.')}`
  throw new InputError({
    where: place,
    expected: issue.message,
    found: show(JSON.stringify(lookUp(value, issue.path))),
    ...(remedy === undefined ? {} : { remedy }),
  })
}

/**
 * Parses JSON text. Throws InputError with file and position of a syntax error; a file of another kind is named for what
 * it is.
 */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    refuseForeign(text, where, 'JSON')
    throw new InputError({ where, expected: 'JSON', found: (error as Error).message }, { cause: error })
  }
}

function refuseForeign(text: string, where: string, expected: string): void {
  const foreign = nameForeign(text)
  if (foreign === null) return
  throw new InputError({ where, expected, found: foreign.what, remedy: foreign.remedy })
}

/** Reads a YAML (or JSON) file of at most `maxBytes` and checks it against a schema. */
export function readConfig<T>(schema: z.ZodType<T>, path: string, maxBytes = 1024 * 1024): T {
  const text = readText(path, maxBytes)
  refuseForeign(text, path, 'YAML')
  let value: unknown
  try {
    value = parseYaml(text, { maxAliasCount: 100, logLevel: 'error' })
  } catch (error) {
    throw new InputError(
      { where: path, expected: 'YAML', found: (error as Error).message.split('\n')[0] },
      { cause: error },
    )
  }
  return check(schema, value, path)
}

function lookUp(value: unknown, path: readonly PropertyKey[]): unknown {
  let inner = value
  for (const key of path) {
    if (inner === null || typeof inner !== 'object') return undefined
    inner = (inner as Record<PropertyKey, unknown>)[key]
  }
  return inner
}
