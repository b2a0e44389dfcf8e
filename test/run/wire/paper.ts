import { DEFAULT_LIMITS } from '../../../src/run/wire/limits.ts'
import { encodeFrames } from '../../../src/run/wire/frame.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { jsonFrame } from '../../../src/run/wire/payloads.ts'
import { WireConnection } from '../../../src/run/wire/connection.ts'
import type { HelloReply } from '../../../src/run/wire/connection.ts'
import type { Transport } from '../../../src/run/wire/transport.ts'
import type { CloseReason, Frame, WireLimits } from '../../../src/run/wire/types.ts'
import { HandTime, parseAll } from './support.ts'

/** Takes writes down; nothing leaves it unless the test says so. */
class Paper implements Transport {
  readonly identity = null
  readonly writes: Uint8Array[][] = []
  queuedBytes = 0
  ends = 0
  destroys = 0
  /** Whether written bytes stay in the queue. */
  stuck = false

  write(parts: readonly Uint8Array[]): void {
    this.writes.push([...parts])
    if (this.stuck) this.queuedBytes += parts.reduce((sum, part) => sum + part.length, 0)
  }

  end(): void {
    this.ends++
  }

  destroy(): void {
    this.destroys++
  }

  get frames(): Frame[] {
    return parseAll(this.writes.flat()).frames
  }
}

export interface Bench {
  readonly connection: WireConnection
  readonly paper: Paper
  readonly time: HandTime
  readonly ends: CloseReason[]
  /** Sends frames of the peer, numbered as they should be. */
  readonly peer: (...frames: Frame[]) => void
}

/** One connection on paper, its greeting under way. */
export function bench(
  role: 'client' | 'server',
  limits: Partial<WireLimits> = {},
  answer?: HelloReply,
): Bench {
  const paper = new Paper()
  const time = new HandTime(100)
  const greet = (): HelloReply => answer ?? { welcome: { we: 1 } }
  const handshake = role === 'client' ? ({ role, greeting: { me: 1 } } as const) : ({ role, greet } as const)
  const options = { clock: time, timers: time, limits: { ...DEFAULT_LIMITS, ...limits } }
  const connection = new WireConnection(paper, handshake, options)
  const ends: CloseReason[] = []
  connection.onClose((reason) => ends.push(reason))
  let sequence = 0
  const peer = (...frames: Frame[]): void => {
    for (const part of encodeFrames(frames, sequence)) connection.receive(part)
    sequence += frames.length
  }
  connection.start()
  return { connection, paper, time, ends, peer }
}

/** The same, greeted. */
export function openBench(role: 'client' | 'server', limits: Partial<WireLimits> = {}): Bench {
  const b = bench(role, limits)
  b.peer(jsonFrame(role === 'client' ? FRAME.welcome : FRAME.hello, { they: 1 }))
  b.paper.writes.length = 0
  return b
}
