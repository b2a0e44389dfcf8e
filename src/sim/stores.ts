import type { SimToken } from './stageLists.ts'
import { comesBefore, type SimRequest } from './stageLists.ts'

/** Stages that wait for a resource, in the order they became ready; a ring that grows. */
export class StageQueue {
  length = 0
  private head = 0
  private mask = 15
  private runs = new Array<SimToken>(16)
  private stages = new Int32Array(16)
  private readySeconds = new Float64Array(16)

  /** `readySeconds` never decreases from call to call; equal ones are put in the order of ties. */
  push(run: SimToken, stage: number, readySeconds: number): void {
    if (this.length > this.mask) this.grow()
    let at = this.length++
    while (at > 0) {
      const before = (this.head + at - 1) & this.mask
      if (this.readySeconds[before] !== readySeconds) break
      if (!comesBefore(run, stage, this.runs[before], this.stages[before])) break
      this.put(at, this.runs[before], this.stages[before], readySeconds)
      at--
    }
    this.put(at, run, stage, readySeconds)
  }

  run(at = 0): SimToken {
    return this.runs[(this.head + at) & this.mask]
  }

  stage(at = 0): number {
    return this.stages[(this.head + at) & this.mask]
  }

  drop(): void {
    this.head = (this.head + 1) & this.mask
    this.length--
  }

  clear(): void {
    this.length = 0
  }

  /** Drops what belongs to a request. */
  withdraw(flight: SimRequest): void {
    const count = this.length
    this.length = 0
    for (let from = 0; from < count; from++) {
      const place = (this.head + from) & this.mask
      const run = this.runs[place]
      if (run.flight !== flight) this.put(this.length++, run, this.stages[place], this.readySeconds[place])
    }
  }

  private put(at: number, run: SimToken, stage: number, readySeconds: number): void {
    const place = (this.head + at) & this.mask
    this.runs[place] = run
    this.stages[place] = stage
    this.readySeconds[place] = readySeconds
  }

  private grow(): void {
    const size = this.mask + 1
    const runs = new Array<SimToken>(2 * size)
    const stages = new Int32Array(2 * size)
    const readySeconds = new Float64Array(2 * size)
    for (let i = 0; i < size; i++) {
      const place = (this.head + i) & this.mask
      runs[i] = this.runs[place]
      stages[i] = this.stages[place]
      readySeconds[i] = this.readySeconds[place]
    }
    this.runs = runs
    this.stages = stages
    this.readySeconds = readySeconds
    this.head = 0
    this.mask = 2 * size - 1
  }
}

/** Messages between their start (express) or their last byte (queued) and their arrival, in no order. */
export class MessagesInTransit {
  length = 0
  /** Arrival of the first to arrive, and its place; Infinity and -1 without any. */
  firstSeconds = Infinity
  first = -1
  /** Several arrive at that very time. */
  tied = false
  runs = new Array<SimToken>(16)
  stages = new Int32Array(16)
  arriveSeconds = new Float64Array(16)
  startSeconds = new Float64Array(16)
  sentSeconds = new Float64Array(16)
  /** 1: its bytes are in the totals. */
  counted = new Uint8Array(16)

  push(run: SimToken, stage: number, start: number, sent: number, arrive: number, counted: number): void {
    const at = this.length
    if (at === this.stages.length) this.grow()
    this.length = at + 1
    this.runs[at] = run
    this.stages[at] = stage
    this.startSeconds[at] = start
    this.sentSeconds[at] = sent
    this.arriveSeconds[at] = arrive
    this.counted[at] = counted
    if (arrive < this.firstSeconds) {
      this.firstSeconds = arrive
      this.first = at
      this.tied = false
    } else if (arrive === this.firstSeconds) this.tied = true
  }

  remove(at: number): void {
    const last = --this.length
    this.runs[at] = this.runs[last]
    this.stages[at] = this.stages[last]
    this.startSeconds[at] = this.startSeconds[last]
    this.sentSeconds[at] = this.sentSeconds[last]
    this.arriveSeconds[at] = this.arriveSeconds[last]
    this.counted[at] = this.counted[last]
    this.findFirst()
  }

  clear(): void {
    this.length = 0
    this.findFirst()
  }

  /** Drops what belongs to a request. */
  withdraw(flight: SimRequest): void {
    for (let at = this.length - 1; at >= 0; at--) if (this.runs[at].flight === flight) this.remove(at)
  }

  private findFirst(): void {
    let firstSeconds = Infinity
    let first = -1
    let tied = false
    for (let i = 0; i < this.length; i++) {
      const arrive = this.arriveSeconds[i]
      if (arrive < firstSeconds) {
        firstSeconds = arrive
        first = i
        tied = false
      } else if (arrive === firstSeconds) tied = true
    }
    this.firstSeconds = firstSeconds
    this.first = first
    this.tied = tied
  }

  private grow(): void {
    this.stages = widened(this.stages, Int32Array)
    this.arriveSeconds = widened(this.arriveSeconds, Float64Array)
    this.startSeconds = widened(this.startSeconds, Float64Array)
    this.sentSeconds = widened(this.sentSeconds, Float64Array)
    this.counted = widened(this.counted, Uint8Array)
  }
}

/** Tokens on their way to the user: sent and arrival times by place, and runs where a run exists. */
export class TokensInTransit {
  sentSeconds = new Float64Array(256)
  arriveSeconds = new Float64Array(256)
  counted = new Uint8Array(256)
  readonly runs: (SimToken | null)[] = []

  reserve(size: number): void {
    if (size <= this.counted.length) return
    this.sentSeconds = new Float64Array(2 * size)
    this.arriveSeconds = new Float64Array(2 * size)
    this.counted = new Uint8Array(2 * size)
  }
}

function widened<T extends Int32Array | Float64Array | Uint8Array>(
  array: T,
  kind: new (length: number) => T,
): T {
  const wide = new kind(2 * array.length)
  wide.set(array)
  return wide
}
