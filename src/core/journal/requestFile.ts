import { readdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { z } from 'zod'
import type { Entry } from './requests.ts'
import { numberedPath, numbersOf } from './rotation.ts'
import { chunksOf, scanLines } from './scan.ts'

const MAX_FILE_BYTES = 4 * 1024 ** 3
const MAX_TOKENS = 4_000_000
/** Longest line in bytes: a prompt of a million tokens fits. */
export const MAX_REQUEST_LINE_BYTES = 32 * 1024 * 1024

const count = z.int().min(0)
const id = z.int().min(0).max(0xffffffff)
const request = z.int().min(1)
const seconds = z.number().min(0)
const finish = z.enum(['stop', 'length', 'cancelled', 'error'])
const ids = z.array(id).max(MAX_TOKENS)

const lineSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('request'),
    key: z.string().max(1024).nullable(),
    principal: z.string().max(10_000),
    prompt: ids,
    maxNewTokens: count,
    sampling: z.record(z.string(), z.unknown()),
    fingerprint: z.string().max(10_000),
    request,
    beganSeconds: seconds,
    tokens: ids,
    switches: z.array(z.unknown()).max(MAX_TOKENS),
    finish: finish.nullable(),
    endedSeconds: seconds.nullable(),
  }),
  z.strictObject({ kind: z.literal('token'), request, index: count, id }),
  z.strictObject({ kind: z.literal('switch'), request, index: count, planSwitch: z.unknown() }),
  z.strictObject({ kind: z.literal('end'), request, finish, endedSeconds: seconds }),
])

/**
 * Reads the requests in a journal's files, by number. Files may repeat what earlier files said (the head of each file
 * repeats all that was known): repetitions change nothing. A token whose predecessor is missing is skipped, because its
 * position would be wrong. Damaged lines are skipped.
 */
export function readRequests(path: string): Entry[] {
  const entries = new Map<number, Entry>()
  for (const number of numbersOf(path, readdirSync(dirname(path)))) {
    for (const { value, fault } of scanLines(
      chunksOf(numberedPath(path, number), MAX_FILE_BYTES),
      MAX_REQUEST_LINE_BYTES,
    )) {
      const parsed = fault === null ? lineSchema.safeParse(value) : undefined
      if (parsed?.success === true) apply(entries, parsed.data)
    }
  }
  return [...entries.values()].sort((a, b) => a.request - b.request)
}

function apply(entries: Map<number, Entry>, line: z.infer<typeof lineSchema>): void {
  const known = entries.get(line.request)
  if (line.kind === 'request') {
    const { kind: _, ...entry } = line
    if (known === undefined || entry.tokens.length >= known.tokens.length) entries.set(entry.request, entry)
    return
  }
  if (known === undefined) return
  if (line.kind === 'token') {
    if (line.index === known.tokens.length) known.tokens.push(line.id)
  } else if (line.kind === 'switch') {
    if (line.index === known.switches.length) known.switches.push(line.planSwitch)
  } else if (known.finish === null) {
    known.finish = line.finish
    known.endedSeconds = line.endedSeconds
  }
}
