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
  /** Runs that wait for the current one. */
  waitingRuns: count.int(),
  /** Memory left for K/V caches and messages. */
  freeBytes: count,
  /** Bytes received from this edge since the last report, in arrivals long enough to measure, and their duration. */
  upBytes: count,
  upSeconds: count,
})

/** A cloud's report of its load. */
export type CloudLoad = z.infer<typeof loadSchema>

/** Encodes a load report as a frame. */
function loadFrame(load: CloudLoad): Frame {
  return jsonFrame(FRAME.load, load)
}

/** Decodes a load report. Throws InputError for anything else. */
export function readLoad(frame: Frame): CloudLoad {
  return check(loadSchema, readJson(frame), "the cloud's load")
}

type Counted = Omit<CloudLoad, 'upBytes' | 'upSeconds'>

/** Sends load reports on one connection when the load has changed, at most once per period. */
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
