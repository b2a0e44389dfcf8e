import { setTimeout as sleep } from 'node:timers/promises'
import { serveStatus } from '../../serve/edge/statusPage.ts'
import { listen, type WireServer } from '../../run/wire/server.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printLine } from '../io.ts'
import type { ListeningJson } from '../json/split.ts'
import { integerOption, numberOption } from '../options.ts'
import { EXIT_INTERRUPTED } from '../program.ts'
import {
  addTransportOptions,
  readTransportOptions,
  type TransportOptions,
} from '../serve/transportOptions.ts'
import { CloudServer } from '../serve/cloudServer.ts'
import { untilAborted } from '../serve/wait.ts'
import { DEFAULT_ADDRESS, formatAddress, parseAddress } from '../split/address.ts'
import { addSideOptions, openSide, type OpenedSide, type SideOptions } from '../split/side.ts'

interface Options extends SideOptions, TransportOptions {
  readonly listen: string
  readonly maxBatch: number
  readonly sessionMb: number
  readonly idleSeconds: number
  readonly maxConnections: number
  readonly allow?: readonly string[]
  readonly status?: string
  readonly drainSeconds: number
  readonly json?: boolean
}

/** To say goodbye and close, after the requests under way. */
const CLOSING_SECONDS = 5

const seconds = numberOption({ min: 0, max: 86_400, exclusiveMin: true })

export const cloud: CliCommand<Options> = {
  name: 'cloud',
  summary: 'carry out the cloud part of a split model for edges that connect',
  configure(command) {
    addSideOptions(command)
    command
      .option(
        '--listen <host:port>',
        'address to listen on; loopback only without --tls; port 0 is any free one',
        DEFAULT_ADDRESS,
      )
      .option(
        '--max-batch <n>',
        'sequences that decode in one run (1 switches batching off)',
        integerOption({ min: 1, max: 8 }),
        8,
      )
      .option(
        '--session-mb <n>',
        'what the caches and messages of all requests may hold, 10^6 bytes; more is refused (E_BUSY)',
        numberOption({ min: 0, exclusiveMin: true }),
        4096,
      )
      .option('--idle-seconds <s>', 'a request whose edge is silent for so long is freed', seconds, 120)
      .option('--max-connections <n>', 'edges at a time', integerOption({ min: 1, max: 65_536 }), 64)
      .option(
        '--allow <name...>',
        'certificates that may connect, by their names (default: all of the authority)',
      )
      .option('--status <host:port>', 'health and metrics for this machine: /healthz, /readyz, /metrics')
      .option('--drain-seconds <s>', 'requests under way may take so long once told to stop', seconds, 30)
    addTransportOptions(command)
    addJson(command)
    addExamples(command, [
      ['The built-in model', 'cloud --model tales'],
      ['A Hugging Face directory in 4 bits', 'cloud --model models/llama --precision int4 --threads 8'],
      ['For edges on other machines', 'cloud --model tales --listen 0.0.0.0:7400 --tls cloud-keys'],
      ['Any free port, for a script', 'cloud --model stories260K.bin --listen 127.0.0.1:0 --json'],
    ])
  },
  run(options, io) {
    const serving = serve(options, io)
    // The process waits for the requests under way before it ends.
    io.onExit(async () => {
      await serving.catch(() => undefined)
    }, options.drainSeconds + CLOSING_SECONDS)
    return serving
  },
}

async function serve(options: Options, io: Io): Promise<number> {
  const address = parseAddress('--listen', options.listen)
  const statusAt = options.status === undefined ? null : parseAddress('--status', options.status)
  const carriage = readTransportOptions(options, io)
  const allowed = options.allow === undefined ? null : new Set(options.allow)
  const side = await openSide(options, io, options.maxBatch)
  try {
    const limits = { sessionBytes: options.sessionMb * 1e6, idleSeconds: options.idleSeconds }
    const hall = new CloudServer(side, limits, io)
    const status = statusAt && (await serveStatus(statusAt, hall))
    try {
      const server = await listen({
        ...{ ...address, ...carriage, clock: io.clock, maxConnections: options.maxConnections },
        ...(allowed === null ? {} : { allow: (identity: string) => allowed.has(identity) }),
        greet: (peer) => hall.greet(peer),
        onConnection: (connection) => hall.admit(connection),
        onRejected: (error) => io.stderr.write(`a client was turned away: ${error.message}\n`),
      })
      announce(server, side, options, io)
      await untilAborted(io.signal)
      await Promise.race([hall.drain(), sleep(1000 * options.drainSeconds, undefined, { ref: false })])
      await server.close()
      return EXIT_INTERRUPTED
    } finally {
      await status?.close()
    }
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
      `On the edge: edgewise edge --model ${options.model} --cloud ${formatAddress({ host, port })}${
        options.tls === undefined ? '' : ' --tls <keys of the edge>'
      } --plan cloud`,
  )
}
