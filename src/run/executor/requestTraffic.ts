import { frameBytes } from '../wire/forwarded.ts'
import type { Message } from './frames.ts'

/** What a request's messages took of the link, from the edge's side. */
export interface TrafficCounts {
  /** Bytes of the messages in each direction: frame headers and what was sent again included. */
  readonly upBytes: number
  readonly downBytes: number
  /** Messages in both directions, what was sent again included. */
  readonly messages: number
}

/** Of a request that has not begun. */
export const NO_TRAFFIC: TrafficCounts = { upBytes: 0, downBytes: 0, messages: 0 }

/**
 * Counts a request's messages as the cost model prices them (docs/model.md, 3): tensors, ids and tokens. The frames
 * that register its plan, open it, close it and report on it carry no step of the plan: they are neither priced nor
 * counted.
 */
export class RequestTraffic implements TrafficCounts {
  upBytes = 0
  downBytes = 0
  messages = 0

  sent(message: Pick<Message, 'payload'>): void {
    this.upBytes += frameBytes(message)
    this.messages++
  }

  received(message: Pick<Message, 'payload'>): void {
    this.downBytes += frameBytes(message)
    this.messages++
  }

  /** Adds what another span of the same request took. */
  add({ upBytes, downBytes, messages }: TrafficCounts): void {
    this.upBytes += upBytes
    this.downBytes += downBytes
    this.messages += messages
  }
}
