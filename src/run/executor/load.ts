import { z } from 'zod'
import { check } from '../../core/schema.ts'
import { jsonFrame, readJson } from '../wire/payloads.ts'
import type { Timers } from '../../core/timers.ts'
import { FRAME, type Connection, type Frame } from '../wire/types.ts'
import { sendIfOpen } from './sendIfOpen.ts'

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

type Counted = Omit<CloudLoad, 'upBytes' | 'upSeconds'>

/** Tells one connection's edge of the load, as often as it changes but no oftener than its period. */
export class LoadReporter {
  private readonly connection: Connection
  private readonly timers: Timers
  private readonly count: () => Counted
  private said = ''
  private upBytes = 0
  private upSeconds = 0
  private isOver = false
  private stopTimer: () => void = () => {}

  constructor(
    connection: Connection,
    { seconds, timers }: { readonly seconds: number | null; readonly timers: Timers },
    counted: () => Counted,
  ) {
    this.connection = connection
    this.timers = timers
    this.count = counted
    if (seconds === null) return
    connection.onTransfer(({ bytes, startSeconds, endSeconds }) => {
      this.upBytes += bytes
      this.upSeconds += endSeconds - startSeconds
    })
    this.wait(seconds)
  }

  stop(): void {
    this.isOver = true
    this.stopTimer()
  }

  private wait(seconds: number): void {
    if (this.isOver) return
    this.stopTimer = this.timers.after(
      seconds,
      () => {
        this.say()
        this.wait(seconds)
      },
      true,
    )
  }

  private say(): void {
    const counted = this.count()
    const text = JSON.stringify(counted)
    if (text === this.said && this.upBytes === 0) return
    this.said = text
    const { upBytes, upSeconds } = this
    this.upBytes = 0
    this.upSeconds = 0
    sendIfOpen(this.connection, loadFrame({ ...counted, upBytes, upSeconds }))
  }
}
