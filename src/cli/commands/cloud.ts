import { setTimeout as sleep } from 'node:timers/promises'
import { SessionBudget } from '../../execute/budget.ts'
import { CLOUD_DEFAULTS, CloudPeer } from '../../execute/cloud.ts'
import { readGreeting, type Greeting } from '../../execute/greeting.ts'
import { formatBytes } from '../../report/numbers.ts'
import type { Answer } from '../../wire/connection.ts'
import { listen, type WireServer } from '../../wire/server.ts'
import type { CloseReason, Connection } from '../../wire/types.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printLine } from '../io.ts'
import type { ListeningJson } from '../json/split.ts'
import { integerOption } from '../options.ts'
import { EXIT_INTERRUPTED } from '../program.ts'
import { DEFAULT_ADDRESS, formatAddress, parseAddress } from '../split/address.ts'
import { addSideOptions, openSide, type OpenedSide, type SideOptions } from '../split/side.ts'

interface Options extends SideOptions {
  readonly listen: string
  readonly maxBatch: number
  readonly json?: boolean
}

/** How long requests under way may take once the cloud was told to stop. */
const DRAIN_SECONDS = 3
const LOOK_MILLISECONDS = 20

export const cloud: CliCommand<Options> = {
  name: 'cloud',
  summary: 'carry out the cloud part of a split model for edges that connect',
  configure(command) {
    addSideOptions(command)
    command
      .option(
        '--listen <host:port>',
        'address to listen on: loopback only, the wire is plaintext; port 0 is any free one',
        DEFAULT_ADDRESS,
      )
      .option(
        '--max-batch <n>',
        'sequences that decode in one run (1 switches batching off)',
        integerOption({ min: 1, max: 8 }),
        8,
      )
    addJson(command)
    addExamples(command, [
      ['The built-in model', 'cloud --model tales'],
      ['A Hugging Face directory in 4 bits', 'cloud --model models/llama --precision int4 --threads 8'],
      ['Any free port, for a script', 'cloud --model stories260K.bin --listen 127.0.0.1:0 --json'],
    ])
  },
  run(options, io) {
    const serving = serve(options, io)
    // The process waits for the requests under way before it ends.
    io.onExit(async () => {
      await serving.catch(() => undefined)
    })
    return serving
  },
}

async function serve(options: Options, io: Io): Promise<number> {
  const address = parseAddress('--listen', options.listen)
  const side = await openSide(options, io, options.maxBatch)
  try {
    const hall = new Hall(side, io)
    const server = await listen({
      ...address,
      clock: io.clock,
      greet: (peer) => hall.greet(peer),
      onConnection: (connection) => hall.admit(connection),
      onRejected: (error) => io.stderr.write(`a client was turned away: ${error.message}\n`),
    })
    announce(server, side, options, io)
    await untilAborted(io.signal)
    await hall.drain()
    await server.close()
    return EXIT_INTERRUPTED
  } finally {
    await side.close()
  }
}

function announce(server: WireServer, side: OpenedSide, options: Options, io: Io): void {
  const { address: host, port } = server
  const { model, precision, maxBatch = 1 } = side.greeting
  if (options.json === true) {
    const { id, fingerprint } = model
    const listening = { host, port, model: id, fingerprint, precision, maxBatch }
    io.stdout.write(`${JSON.stringify({ listening } satisfies ListeningJson)}\n`)
    return
  }
  printLine(
    io,
    `${model.id} (${precision}) listens on ${formatAddress({ host, port })}; Ctrl-C ends it.\n` +
      `On the edge: edgewise edge --model ${options.model} --cloud ${formatAddress({ host, port })} --plan cloud`,
  )
}

/** The connections of one cloud. */
class Hall {
  private readonly side: OpenedSide
  private readonly io: Io
  private readonly peers = new Set<CloudPeer>()
  private readonly budget = new SessionBudget()
  private count = 0
  private draining = false

  constructor(side: OpenedSide, io: Io) {
    this.side = side
    this.io = io
  }

  greet(peer: unknown): Answer {
    const { greeting } = this.side
    if (this.draining) return { refuse: { code: 'E_CLOSING', message: 'this cloud is about to end' } }
    const { mismatch } = readGreeting(peer, greeting)
    return mismatch === null ? { welcome: greeting } : { refuse: { code: 'E_MODEL', message: mismatch } }
  }

  admit(connection: Connection): void {
    const { pretrained, execution } = this.side
    const peer = new CloudPeer(connection, {
      ...{ model: pretrained.source.model, runner: execution.runner, clock: this.io.clock },
      ...{ ...CLOUD_DEFAULTS, budget: this.budget },
    })
    this.count++
    const number = this.count
    // The greeting was read when it was answered.
    const { software, precision } = connection.peer as Greeting
    this.say(`connection ${number} opened: ${software}, ${precision}`)
    this.peers.add(peer)
    connection.onClose((reason) => {
      this.peers.delete(peer)
      this.say(`connection ${number} closed: ${partingWords(connection, reason)}`)
    })
  }

  /** Waits for requests under way, a while; takes no more connections. */
  async drain(): Promise<void> {
    this.draining = true
    const { clock } = this.io
    const end = clock.nowSeconds() + DRAIN_SECONDS
    const busy = (): boolean => [...this.peers].some(({ active }) => active > 0)
    while (busy() && clock.nowSeconds() < end) await sleep(LOOK_MILLISECONDS)
  }

  private say(text: string): void {
    this.io.stderr.write(`${text}\n`)
  }
}

function partingWords(connection: Connection, { message }: CloseReason): string {
  const { receivedBytes, sentBytes } = connection
  return `${message}; ${formatBytes(receivedBytes)} up, ${formatBytes(sentBytes)} down`
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
