import { printable } from '../../core/errors.ts'
import { DEFAULT_ADDRESS, formatAddress, parseAddress } from '../../core/address.ts'
import { formatBytes } from '../../report/numbers.ts'
import { createCloud, DEFAULT_CLOUD_LIMITS, type Cloud } from '../../serve/cloud/create.ts'
import type { CloudEvent } from '../../serve/cloud/types.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import type { Io } from '../io.ts'
import { printLine } from '../io.ts'
import type { ListeningJson } from '../json/split.ts'
import { integerOption, numberOption } from '../options.ts'
import { EXIT_INTERRUPTED } from '../program.ts'
import { addTransportOptions, readTransportOptions, type TransportFlags } from '../serve/transportOptions.ts'
import { untilAborted } from '../serve/wait.ts'
import { addSideOptions, sideOptions, type SideFlags } from '../split/side.ts'

interface CloudFlags extends SideFlags, TransportFlags {
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

/** Seconds to say bye and close, after the running requests have ended. */
const CLOSING_SECONDS = 5

const defaults = DEFAULT_CLOUD_LIMITS
const seconds = numberOption({ min: 0, max: 86_400, exclusiveMin: true })

export const cloud: CliCommand<CloudFlags> = {
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
        defaults.maxBatch,
      )
      .option(
        '--session-mb <n>',
        'what the caches and messages of all requests may hold, 10^6 bytes; more is refused (E_BUSY)',
        numberOption({ min: 0, exclusiveMin: true }),
        defaults.sessionBytes / 1e6,
      )
      .option(
        '--idle-seconds <s>',
        'how long a request may go without a message from its edge',
        seconds,
        defaults.idleSeconds,
      )
      .option(
        '--max-connections <n>',
        'edges at a time',
        integerOption({ min: 1, max: 65_536 }),
        defaults.maxConnections,
      )
      .option(
        '--allow <name...>',
        'certificates that may connect, by their names (default: all of the authority)',
      )
      .option('--status <host:port>', 'health and metrics for this machine: /healthz, /readyz, /metrics')
      .option('--drain-seconds <s>', 'how long running requests may take after a signal to stop', seconds, 30)
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
    // The process waits for the running requests before it ends.
    io.onExit(async () => {
      await serving.catch(() => undefined)
    }, options.drainSeconds + CLOSING_SECONDS)
    return serving
  },
}

async function serve(flags: CloudFlags, io: Io): Promise<number> {
  const { maxBatch, sessionMb, idleSeconds, maxConnections, drainSeconds } = flags
  const cloud = await createCloud({
    ...sideOptions(flags, io),
    listen: parseAddress('--listen', flags.listen),
    transport: readTransportOptions(flags, io),
    allow: flags.allow,
    status: flags.status === undefined ? undefined : parseAddress('--status', flags.status),
    limits: { maxBatch, sessionBytes: sessionMb * 1e6, idleSeconds, maxConnections },
    onEvent: (event) => io.stderr.write(`${eventText(event)}\n`),
  })
  announce(cloud, flags, io)
  await untilAborted(io.signal)
  await cloud.close({ drainSeconds })
  return EXIT_INTERRUPTED
}

function eventText(event: CloudEvent): string {
  switch (event.kind) {
    case 'connection-opened': {
      const { connection, identity, software, precision } = event
      const who = identity === null ? '' : `${printable(identity)}, `
      return `connection ${connection} opened: ${who}${printable(software)}, ${precision}`
    }
    case 'connection-closed': {
      const { connection, reason, receivedBytes, sentBytes } = event
      const bytes = `${formatBytes(receivedBytes)} up, ${formatBytes(sentBytes)} down`
      return `connection ${connection} closed: ${printable(reason)}; ${bytes}`
    }
    case 'connection-rejected':
      return `a client was turned away: ${printable(event.reason)}`
  }
}

function announce({ address, model, precision, maxBatch }: Cloud, flags: CloudFlags, io: Io): void {
  const { id, fingerprint } = model
  if (flags.json === true) {
    const listening = { ...address, model: id, fingerprint, precision, maxBatch }
    io.stdout.write(`${JSON.stringify({ listening } satisfies ListeningJson)}\n`)
    return
  }
  const where = formatAddress(address)
  const keys = flags.tls === undefined ? '' : ' --tls <keys of the edge>'
  printLine(
    io,
    `${id} (${precision}) listens on ${where}; Ctrl-C ends it.\n` +
      `On the edge: edgewise edge --model ${flags.model} --cloud ${where}${keys} --plan cloud`,
  )
}
