import { createConnection, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { systemClock } from '../src/core/clock.ts'
import { median } from '../src/core/quantile.ts'
import { createAuthority, issue } from '../src/core/trust/authority.ts'
import { connect } from '../src/run/wire/client.ts'
import { encodeFrames, FrameParser, makeFrame } from '../src/run/wire/frame.ts'
import { FRAME } from '../src/run/wire/types.ts'
import { listen } from '../src/run/wire/server.ts'
import type { Connection } from '../src/run/wire/types.ts'
import type { TlsMaterial } from '../src/run/wire/tls.ts'
import type { WireServer } from '../src/run/wire/server.ts'

/** One figure of a benchmark. */
interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

interface Case {
  readonly name: string
  readonly bytes: number
  readonly rounds: number
}

/** A few token ids' worth, one decode tensor, one prefill tensor. */
const CASES: readonly Case[] = [
  { name: '256 B', bytes: 256, rounds: 2000 },
  { name: '64 KB', bytes: 65_536, rounds: 1000 },
  { name: '2 MB', bytes: 2_097_152, rounds: 60 },
]
/** Framed and raw rounds alternate in blocks, so that a machine whose speed drifts slows both. */
const BLOCKS = 10
/** Frames of a stream that are sent before the sender waits for them to arrive. */
const BATCH = 16

/** Codec alone, echoes over loopback by every carriage and without framing, and one-way streams. */
export async function run(): Promise<BenchResult[]> {
  const framed = await openFramed({})
  const others = {
    TLS: await openFramed(await mutualTls()),
    WebSocket: await openFramed({ webSocket: true }),
  }
  const raw = await openRaw()
  const results: BenchResult[] = []
  for (const test of CASES) {
    results.push(codec(test), ...(await echoes(test, framed, others, raw)), ...(await stream(test, framed)))
  }
  for (const carriage of [framed, ...Object.values(others)]) await carriage.close()
  raw.close()
  return results
}

/** Encoding into parts and parsing them again, checksums included. */
function codec({ name, bytes, rounds }: Case): BenchResult {
  const frame = makeFrame(FRAME.tensor, { payload: new Uint8Array(bytes) })
  const parser = new FrameParser(() => Infinity)
  const times: number[] = []
  for (let i = 0; i < rounds; i++) {
    const start = systemClock.nowSeconds()
    for (const part of encodeFrames([frame], i)) parser.push(part, () => {})
    if (i >= rounds / 2) times.push(systemClock.nowSeconds() - start)
  }
  return { name: `wire, ${name}: encode and parse`, value: 1e6 * median(times), unit: 'us' }
}

interface Echo {
  /** Seconds of one round trip of `bytes`. */
  echo(bytes: Uint8Array): Promise<number>
}

async function echoes(
  { name, bytes, rounds }: Case,
  framed: Echo,
  others: Readonly<Record<string, Echo>>,
  raw: Echo,
): Promise<BenchResult[]> {
  const payload = new Uint8Array(bytes)
  const sides = Object.values({ framed, raw, ...others }).map((echo) => ({ echo, times: [] as number[] }))
  for (let block = 0; block < BLOCKS; block++) {
    for (const { echo, times } of sides) {
      for (let i = 0; i < rounds / BLOCKS; i++) {
        const seconds = await echo.echo(payload)
        // The first blocks warm the compiler and the windows up.
        if (block >= BLOCKS / 2) times.push(seconds)
      }
    }
  }
  const [seconds, rawSeconds, ...otherSeconds] = sides.map(({ times }) => median(times))
  return [
    { name: `wire, ${name}: echo over loopback`, value: 1e6 * seconds, unit: 'us' },
    { name: `wire, ${name}: echo against a raw socket`, value: seconds / rawSeconds, unit: 'times' },
    ...Object.keys(others).map((other, i) => ({
      name: `wire, ${name}: echo over ${other} against a raw socket`,
      value: otherSeconds[i] / rawSeconds,
      unit: 'times',
    })),
  ]
}

/** Frames one way; the receiver answers the last of each batch. */
async function stream({ name, bytes, rounds }: Case, framed: Framed): Promise<BenchResult[]> {
  const payload = new Uint8Array(bytes)
  const batches = Math.max(4, Math.ceil(rounds / BATCH))
  const rates: number[] = []
  for (let batch = 0; batch < batches; batch++) rates.push(BATCH / (await framed.batch(payload, BATCH)))
  const framesPerSecond = median(rates.slice(batches >> 1))
  return [
    { name: `wire, ${name}: one way`, value: framesPerSecond, unit: 'frames/s' },
    { name: `wire, ${name}: one way`, value: (framesPerSecond * bytes) / 1e6, unit: 'MB/s' },
  ]
}

interface Framed extends Echo {
  /** Seconds until the last of `count` frames is answered. */
  batch(bytes: Uint8Array, count: number): Promise<number>
  close(): Promise<void>
}

interface Carried {
  readonly tls?: TlsMaterial
  readonly webSocket?: boolean
}

/** Both sides show one certificate. */
async function mutualTls(): Promise<Carried> {
  const authority = await createAuthority({ clock: systemClock, validDays: 1 })
  const subject = { name: 'bench', hosts: ['127.0.0.1'] }
  const { certificate: cert, key } = await issue(authority, { clock: systemClock, validDays: 1, ...subject })
  return { tls: { ca: authority.certificate, cert, key } }
}

/** A server that sends a frame back where `position` is 1, and an empty one where it is 2. */
async function openFramed({ tls, webSocket = false }: Carried): Promise<Framed> {
  const base = {
    host: '127.0.0.1',
    clock: systemClock,
    ...(tls && { tls }),
    ...(webSocket && { webSocket: { path: '/' } }),
  }
  const onConnection = (connection: Connection): void => {
    connection.onFrame((frame) => {
      if (frame.position === 1) connection.send(frame)
      else if (frame.position === 2) connection.send(makeFrame(FRAME.close))
    })
  }
  const server: WireServer = await listen({ ...base, port: 0, greet: () => ({ welcome: {} }), onConnection })
  const client = await connect({ ...base, port: server.port, greeting: {} })
  let heard: () => void = () => {}
  client.onFrame(() => heard())
  const answered = (send: () => void): Promise<number> =>
    new Promise((resolve) => {
      const start = systemClock.nowSeconds()
      heard = () => resolve(systemClock.nowSeconds() - start)
      send()
    })
  return {
    echo: (payload) => answered(() => client.send(makeFrame(FRAME.tensor, { position: 1, payload }))),
    batch: (payload, count) =>
      answered(() => {
        for (let i = 1; i <= count; i++) {
          client.send(makeFrame(FRAME.tensor, { position: i === count ? 2 : 0, payload }))
        }
      }),
    async close() {
      await client.close()
      await server.close()
    },
  }
}

/** The same echo by bare sockets: bytes are counted, never looked at. */
async function openRaw(): Promise<Echo & { close(): void }> {
  const server = createServer({ noDelay: true }, echoWhole)
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve))
  const { port } = server.address() as AddressInfo
  const socket = createConnection({ host: '127.0.0.1', port, noDelay: true })
  await new Promise((resolve) => socket.once('connect', resolve))
  let missing = 0
  let heard: () => void = () => {}
  socket.on('data', (chunk) => {
    missing -= chunk.length
    if (missing === 0) heard()
  })
  return {
    echo: (bytes) =>
      new Promise((resolve) => {
        const start = systemClock.nowSeconds()
        missing = bytes.length
        heard = () => resolve(systemClock.nowSeconds() - start)
        const length = Buffer.alloc(4)
        length.writeUInt32LE(bytes.length)
        socket.cork()
        socket.write(length)
        socket.write(bytes)
        socket.uncork()
      }),
    close() {
      socket.destroy()
      server.close()
    },
  }
}

/** Sends a message back when the whole of it is there, as a frame's receiver does: four bytes say its length. */
function echoWhole(socket: Socket): void {
  let message = Buffer.alloc(0)
  let filled = -4
  const head = Buffer.alloc(4)
  socket.on('data', (chunk) => {
    let at = 0
    while (at < chunk.length) {
      if (filled < 0) {
        const taken = chunk.copy(head, 4 + filled, at, at - filled)
        filled += taken
        at += taken
        if (filled === 0) message = Buffer.allocUnsafeSlow(head.readUInt32LE(0))
      } else {
        const taken = chunk.copy(message, filled, at)
        filled += taken
        at += taken
      }
      if (filled === message.length && filled > 0) {
        socket.write(message)
        filled = -4
      }
    }
  })
}
