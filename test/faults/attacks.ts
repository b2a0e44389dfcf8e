import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RandomStream } from '../../src/core/random.ts'
import { openFrame, planFrame } from '../../src/run/executor/messages.ts'
import { GREEDY } from '../../src/run/executor/types.ts'
import { encodeFrames, FrameParser, makeFrame } from '../../src/run/wire/frame.ts'
import { jsonFrame } from '../../src/run/wire/payloads.ts'
import { FRAME, type Frame, type FrameType } from '../../src/run/wire/types.ts'
import type { HostileKind } from './kinds.ts'
import { planNamed } from './plans.ts'
import { LIMITS, MODEL } from './world.ts'

/** A peer that says what it likes: frames with right numbers and checksums, or bytes. */
export class RawPeer {
  readonly socket: Socket
  readonly heard: Frame[] = []
  isGone = false
  private sequence = 0

  constructor(socket: Socket) {
    this.socket = socket
    const parser = new FrameParser(() => Infinity)
    socket.on('data', (chunk: Uint8Array) => parser.push(chunk, (frame) => this.heard.push(frame)))
    socket.on('error', () => {})
    socket.on('close', () => (this.isGone = true))
  }

  static async connect(port: number): Promise<RawPeer> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    await once(socket, 'connect')
    return new RawPeer(socket)
  }

  say(...frames: readonly Frame[]): void {
    this.bytes(Buffer.concat(encodeFrames(frames, this.sequence)))
    this.sequence += frames.length
  }

  bytes(bytes: Uint8Array): void {
    if (!this.isGone) this.socket.write(bytes)
  }

  /** As if nobody had read to the end. */
  leave(): void {
    this.socket.destroy()
  }
}

export function randomBytes(random: RandomStream, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.integer(256))
}

/** Any type and any fields; numbers as they are likely to be used. */
export function randomFrame(random: RandomStream): Frame {
  const types = Object.values(FRAME)
  return makeFrame(types[random.integer(types.length)], {
    request: random.integer(12),
    step: random.integer(6),
    position: random.integer(30),
    count: random.integer(20),
    bits: [0, 4, 8, 16, 32][random.integer(5)],
    flags: random.integer(8),
    payload: randomBytes(random, random.integer(400)),
  })
}

/** A header that claims a payload about as large as one of this type may be, and a few bytes of it. */
function claim(random: RandomStream, sequence: number): Uint8Array {
  const caps: readonly [FrameType, number][] = [
    [FRAME.plan, 64 * 1024],
    [FRAME.ping, 64 * 1024],
    [FRAME.close, 0],
    [FRAME.tensor, LIMITS.maxPayloadBytes!],
    [FRAME.ids, LIMITS.maxPayloadBytes!],
  ]
  const [type, cap] = caps[random.integer(caps.length)]
  const size = Math.max(0, cap - 1 + random.integer(3))
  const whole = Buffer.concat(encodeFrames([makeFrame(type, { payload: new Uint8Array(size) })], sequence))
  return whole.subarray(0, Math.min(whole.length, 32 + random.integer(20_000)))
}

const opening = {
  plan: 1,
  promptTokens: 12,
  maxNewTokens: 16,
  sampling: GREEDY,
  stopIds: [],
  report: false,
}
const hello = jsonFrame(FRAME.hello, {})
const plan = planFrame(MODEL, 1, planNamed('cut', MODEL))

/** What a hostile edge does to a cloud; it resolves when it is done, connected or not. */
export async function attackCloud(kind: HostileKind, peer: RawPeer, random: RandomStream): Promise<void> {
  switch (kind) {
    case 'random bytes':
      if (random.integer(2) === 0) peer.say(hello)
      peer.bytes(randomBytes(random, 1 + random.integer(5000)))
      break
    case 'illegal order':
      if (random.integer(4) > 0) peer.say(hello, plan)
      for (let i = 0; i < 50 && !peer.isGone; i++) {
        peer.say(randomFrame(random))
        if (i % 10 === 0) await sleep(1)
      }
      break
    case 'sizes at the caps':
      peer.say(hello)
      peer.bytes(claim(random, 1))
      break
    case 'foreign numbers':
      peer.say(hello, plan)
      for (let request = 1; request < 200; request++) {
        const bits = 32
        const payload = new Uint8Array(4 * MODEL.width)
        const own = random.integer(8) === 0
        if (own) peer.say(openFrame(request, { ...opening, plan: 1 }))
        peer.say(
          makeFrame(FRAME.tensor, {
            request,
            step: 1,
            position: random.integer(30),
            count: 1,
            bits,
            payload,
          }),
        )
        if (!own) peer.say(makeFrame(FRAME.close, { request }))
      }
      break
    case 'thousands of opens':
      peer.say(hello, plan)
      for (let request = 1; request <= 4000 && !peer.isGone; request++) {
        peer.say(openFrame(request, opening))
        if (request % 500 === 0) await sleep(1)
      }
      break
    case 'slow greeting': {
      const bytes = Buffer.concat(encodeFrames([hello], 0))
      for (let at = 0; at < bytes.length && !peer.isGone; at++) {
        peer.bytes(bytes.subarray(at, at + 1))
        await sleep(60)
      }
    }
  }
}

/** What a hostile cloud answers each time its edge says something. */
export function attackEdge(kind: HostileKind, peer: RawPeer, random: RandomStream): void {
  const token = (request: number, id: number, position: number): Frame => {
    const payload = new Uint8Array(new Uint32Array([id]).buffer)
    return makeFrame(FRAME.ids, { request, position, count: 1, step: random.integer(6), payload })
  }
  switch (kind) {
    case 'random bytes':
      peer.bytes(randomBytes(random, 1 + random.integer(5000)))
      break
    case 'illegal order':
      for (let i = 0; i < 10; i++) peer.say(randomFrame(random))
      break
    case 'sizes at the caps':
      peer.bytes(claim(random, 1))
      break
    case 'foreign numbers':
      for (let request = 0; request < 50; request++) {
        peer.say(token(request, random.integer(2 * MODEL.vocabulary), random.integer(30)))
      }
      break
    case 'thousands of opens':
      for (let i = 0; i < 2000; i++) {
        peer.say(jsonFrame(FRAME.fail, { code: 'E_BUSY', message: 'x'.repeat(100) }, { request: i % 50 }))
      }
      break
    case 'slow greeting':
      // It never says welcome.
      break
  }
}
