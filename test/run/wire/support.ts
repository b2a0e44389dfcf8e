import fc from 'fast-check'
import type { Clock } from '../../../src/core/clock.ts'
import type { Timers } from '../../../src/core/timers.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { FrameParser } from '../../../src/run/wire/frame.ts'
import type { CloseReason, Connection, Frame, FrameType } from '../../../src/run/wire/types.ts'

const ANY_SIZE = (): number => Infinity

/** Frames of any type and any field values; payloads up to `maxLength` bytes. */
export function anyFrame(maxLength = 300): fc.Arbitrary<Frame> {
  const u32 = fc.nat(0xffffffff)
  return fc.record({
    type: fc.constantFrom<FrameType>(...Object.values(FRAME)),
    request: u32,
    step: fc.nat(0xffff),
    position: u32,
    count: u32,
    bits: fc.nat(255),
    flags: fc.nat(255),
    payload: fc.uint8Array({ maxLength }),
  })
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

/** What a fresh parser makes of `chunks`: frames, and the error that ended it. */
export function parseAll(
  chunks: Iterable<Uint8Array>,
  admit: (type: FrameType) => number = ANY_SIZE,
): { frames: Frame[]; error: unknown; insideFrame: boolean } {
  const parser = new FrameParser(admit)
  const frames: Frame[] = []
  try {
    for (const chunk of chunks) parser.push(chunk, (frame) => frames.push(frame))
  } catch (error) {
    return { frames, error, insideFrame: parser.insideFrame }
  }
  return { frames, error: null, insideFrame: parser.insideFrame }
}

/** `bytes` in pieces of one byte. */
export function* singly(bytes: Uint8Array): Generator<Uint8Array> {
  for (let i = 0; i < bytes.length; i++) yield bytes.subarray(i, i + 1)
}

/** Time that passes when a test says so. */
export class HandTime implements Clock, Timers {
  private now: number
  private readonly waiting = new Set<{ at: number; run: () => void; background: boolean }>()

  constructor(startSeconds = 0) {
    this.now = startSeconds
  }

  nowSeconds(): number {
    return this.now
  }

  wallTime(): string {
    return '2000-01-01T00:00:00.000Z'
  }

  after(seconds: number, run: () => void, background = false): () => void {
    const entry = { at: this.now + seconds, run, background }
    this.waiting.add(entry)
    return () => this.waiting.delete(entry)
  }

  get pending(): number {
    return this.waiting.size
  }

  /** Those of them that keep no process alive. */
  get background(): number {
    return [...this.waiting].filter(({ background }) => background).length
  }

  pass(seconds: number): void {
    this.now += seconds
    const due = [...this.waiting].filter(({ at }) => at <= this.now)
    for (const entry of due) if (this.waiting.delete(entry)) entry.run()
  }
}

/** The end of a connection, as a promise. */
export function ending(connection: Connection): Promise<CloseReason> {
  return new Promise((resolve) => connection.onClose(resolve))
}

/** The next `count` frames. */
export function nextFrames(connection: Connection, count: number): Promise<Frame[]> {
  return new Promise((resolve, reject) => {
    const frames: Frame[] = []
    connection.onFrame((frame) => {
      frames.push(frame)
      if (frames.length === count) resolve(frames)
    })
    connection.onClose((reason) => reject(new Error(`closed: ${reason.message}`)))
  })
}
