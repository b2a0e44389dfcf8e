import { z } from 'zod'
import { check } from '../base/schema.ts'
import { jsonFrame, readJson } from '../wire/payloads.ts'
import { FRAME, type Frame } from '../wire/types.ts'

const count = z.number().min(0).max(Number.MAX_SAFE_INTEGER)

const loadSchema = z.strictObject({
  /** Open requests of all connections, and of this one. */
  sequences: count.int(),
  own: count.int(),
  /** Runs of a graph that wait for the one under way. */
  waitingRuns: count.int(),
  /** What is left for K/V caches and messages. */
  freeBytes: count,
  /** What came from this edge since the last time, in arrivals long enough to measure, and how long they took. */
  upBytes: count,
  upSeconds: count,
})

/** What a cloud says of how busy it is. */
export type CloudLoad = z.infer<typeof loadSchema>

export function loadFrame(load: CloudLoad): Frame {
  return jsonFrame(FRAME.load, load)
}

/** Throws InputError for anything that is no load. */
export function readLoad(frame: Frame): CloudLoad {
  return check(loadSchema, readJson(frame), "the cloud's load")
}
