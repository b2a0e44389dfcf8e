import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Timers } from '../../src/core/timers.ts'
import { FRAME_HEADER_BYTES } from '../../src/run/wire/types.ts'
import { FrameSplitter, type SeenFrame, type Way } from './frames.ts'
import { Outlet, type Manner } from './outlet.ts'

/** What is done to the frame that was waited for, or to its whole connection. */
export type Action =
  /** `part` of the frame's bytes still pass (0..1); then RST, FIN, or nothing at all any more, both ways. */
  | { readonly kind: 'reset' | 'end' | 'half-open'; readonly part: number }
  /** Both ways stand still for so long, and then go on. */
  | { readonly kind: 'stall'; readonly part: number; readonly seconds: number }
  /** This frame and the next ones, `bytes` in all. */
  | { readonly kind: 'drip'; readonly manner: Manner; readonly bytes: number }
  | { readonly kind: 'duplicate' | 'drop' | 'reorder' }
  /** One bit of the part's byte `at` (modulo its length) turns over; of a frame without payload, the last one. */
  | {
      readonly kind: 'flip'
      readonly part: 'header' | 'payload'
      readonly at: number
      readonly bit: number
    }
  /** The rest of the frame is missing; the stream goes on behind it. */
  | { readonly kind: 'truncate'; readonly part: number }
  /** The frame passes; something else happens. */
  | { readonly kind: 'call'; readonly run: () => void }

export interface Step {
  readonly when: (frame: SeenFrame) => boolean
  readonly act: Action
}

/** Steps come about one after another: one is waited for when the one before it has. */
export type Script = readonly Step[]

export interface Proxy {
  readonly port: number
  /** Connections so far. */
  readonly connections: number
  /** Pairs of sockets that are open. */
  readonly open: number
  /** Steps of the present script that have come about. */
  readonly done: number
  /** Hears of every frame, before anything is done to it. */
  onFrame: (frame: SeenFrame) => void
  play(script: Script): void
  close(): Promise<void>
}

const OPTIONS = { noDelay: true, allowHalfOpen: true } as const

/** A TCP proxy on loopback, between an edge and its cloud, that breaks what passes as its script says. */
export async function startProxy(to: () => number, timers: Timers): Promise<Proxy> {
  const stage = new Stage()
  const pairs = new Set<Pair>()
  let connections = 0
  const server: Server = createServer({ ...OPTIONS, pauseOnConnect: true }, (client) => {
    const cloud = connect({ host: '127.0.0.1', port: to(), ...OPTIONS })
    // What is to be broken is there by then.
    cloud.once('connect', () => client.resume())
    const pair: Pair = new Pair(client, cloud, { number: connections++, stage, timers }, () =>
      pairs.delete(pair),
    )
    pairs.add(pair)
  })
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    get connections() {
      return connections
    },
    get open() {
      return pairs.size
    },
    get done() {
      return stage.done
    },
    set onFrame(listener: (frame: SeenFrame) => void) {
      stage.onFrame = listener
    },
    play: (script) => stage.play(script),
    close: () => {
      const down = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const pair of pairs) pair.destroy()
      return down
    },
  }
}

/** The script, and how far it is. */
class Stage {
  onFrame: (frame: SeenFrame) => void = () => {}
  done = 0
  private script: Script = []

  play(script: Script): void {
    this.script = script
    this.done = 0
  }

  /** What is to be done to this frame; null: it passes. */
  see(frame: SeenFrame): Action | null {
    this.onFrame(frame)
    const step = this.script[this.done]
    if (step === undefined || !step.when(frame)) return null
    this.done++
    return step.act
  }
}

interface Lane {
  readonly splitter: FrameSplitter
  readonly outlet: Outlet
  /** A frame that is to leave behind the next one. */
  late: Uint8Array | null
  /** How the next bytes leave, and how many of them. */
  manner: Manner
  mannerBytes: number
}

const RESET_SECONDS = 0.005

/** An edge's connection and the cloud's. */
class Pair {
  private readonly sockets: Readonly<Record<Way, Socket>>
  private readonly lanes: Readonly<Record<Way, Lane>>
  private readonly stage: Stage
  private readonly timers: Timers
  /** Takes everything and says nothing, for ever. */
  private deaf = false

  constructor(
    client: Socket,
    cloud: Socket,
    { number, stage, timers }: { number: number; stage: Stage; timers: Timers },
    onGone: () => void,
  ) {
    this.stage = stage
    this.timers = timers
    this.sockets = { up: cloud, down: client }
    const lane = (way: Way): Lane => ({
      splitter: new FrameSplitter(number, way),
      outlet: new Outlet(this.sockets[way], timers),
      late: null,
      manner: 'whole',
      mannerBytes: 0,
    })
    this.lanes = { up: lane('up'), down: lane('down') }
    this.carry(client, 'up')
    this.carry(cloud, 'down')
    let open = 2
    for (const socket of [client, cloud]) socket.on('close', () => (--open === 0 ? onGone() : undefined))
  }

  destroy(): void {
    for (const way of ['up', 'down'] as const) {
      this.lanes[way].outlet.stop()
      this.sockets[way].destroy()
    }
  }

  private carry(from: Socket, way: Way): void {
    const { splitter, outlet } = this.lanes[way]
    from.on('data', (chunk: Uint8Array) => {
      if (!this.deaf) splitter.push(chunk, (frame, bytes) => this.take(frame, bytes))
    })
    from.on('end', () => (this.deaf ? undefined : outlet.end()))
    // A peer that is reset resets the other one.
    from.on('error', () => (this.deaf ? undefined : this.sockets[way].resetAndDestroy()))
    from.on('close', () => (this.deaf ? undefined : outlet.end()))
  }

  private take(frame: SeenFrame, bytes: Uint8Array): void {
    if (this.deaf) return
    const action = this.stage.see(frame)
    if (action === null) this.pass(frame.way, bytes)
    else this.act(action, frame.way, bytes)
  }

  private pass(way: Way, bytes: Uint8Array): void {
    const lane = this.lanes[way]
    lane.outlet.write(bytes, lane.mannerBytes > 0 ? lane.manner : 'whole')
    lane.mannerBytes -= bytes.length
    if (lane.late === null) return
    lane.outlet.write(lane.late)
    lane.late = null
  }

  private act(action: Action, way: Way, bytes: Uint8Array): void {
    const lane = this.lanes[way]
    switch (action.kind) {
      case 'reset':
      case 'end':
      case 'half-open':
        this.break(action.kind, way, beginning(bytes, action.part))
        break
      case 'stall':
        this.pass(way, beginning(bytes, action.part))
        for (const each of Object.values(this.lanes)) each.outlet.pause(action.seconds)
        this.pass(way, bytes.subarray(beginning(bytes, action.part).length))
        break
      case 'drip':
        Object.assign(lane, { manner: action.manner, mannerBytes: action.bytes })
        this.pass(way, bytes)
        break
      case 'duplicate':
        this.pass(way, bytes)
        this.pass(way, bytes)
        break
      case 'drop':
        break
      case 'reorder':
        lane.late = bytes
        break
      case 'flip': {
        const flipped = Uint8Array.from(bytes)
        flipped[placeOf(action, bytes.length)] ^= 1 << action.bit
        this.pass(way, flipped)
        break
      }
      case 'truncate':
        this.pass(way, beginning(bytes, action.part))
        break
      case 'call':
        this.pass(way, bytes)
        action.run()
    }
  }

  private break(how: 'reset' | 'end' | 'half-open', way: Way, last: Uint8Array): void {
    const ways = ['up', 'down'] as const
    this.deaf = true
    if (last.length > 0) this.sockets[way].write(last)
    for (const each of ways) this.lanes[each].outlet.stop()
    if (how === 'half-open') return
    // A reader that finds bytes and a reset at once sees an orderly end: the reset comes when it has read.
    const cut = (): void => ways.forEach((each) => this.sockets[each].resetAndDestroy())
    if (how === 'reset') this.timers.after(RESET_SECONDS, cut)
    else for (const each of ways) this.sockets[each].end()
  }
}

function placeOf({ part, at }: Extract<Action, { kind: 'flip' }>, bytes: number): number {
  const payload = bytes - FRAME_HEADER_BYTES
  if (part === 'header') return at % FRAME_HEADER_BYTES
  return payload === 0 ? bytes - 1 : FRAME_HEADER_BYTES + (at % payload)
}

/** At least one byte short of the whole. */
function beginning(bytes: Uint8Array, part: number): Uint8Array {
  return bytes.subarray(0, Math.min(bytes.length - 1, Math.floor(part * bytes.length)))
}
