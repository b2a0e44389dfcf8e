import { setTimeout as sleep } from 'node:timers/promises'
import { formatBitsPerSecond, formatBytes, formatSeconds } from '../../../report/numbers.ts'
import { DEFAULT_QUEUE_BYTES, startRelay } from '../../../trace/replay/relay.ts'
import { parseLoopback, showEndpoint } from '../../../trace/replay/endpoint.ts'
import type { PipeStats } from '../../../trace/replay/pipe.ts'
import type { Relay, RelayStats } from '../../../trace/replay/relay.ts'
import { TRACE_FORMATS } from '../../../trace/import/detect.ts'
import { LINK_ARGUMENT } from '../../../trace/import/openLink.ts'
import { createLink } from '../../../trace/link.ts'
import type { Link } from '../../../trace/types.ts'
import type { CliCommand } from '../../command.ts'
import { addExamples, addJson } from '../../command.ts'
import type { Io } from '../../io.ts'
import { printJson, printLine } from '../../io.ts'
import { integerOption, numberOption } from '../../options.ts'
import { addPartOptions, openLinkSource } from './source.ts'
import type { LinkOptions } from './source.ts'

interface Options extends LinkOptions {
  readonly listen: string
  readonly to: string
  readonly speed: number
  readonly start: number
  readonly queueBytes: number
  readonly every: number
  readonly forSeconds?: number
  readonly json?: boolean
}

const positive = numberOption({ min: 0, exclusiveMin: true })
const notNegative = numberOption({ min: 0 })

export const linkReplay: CliCommand<Options> = {
  name: 'replay',
  summary: 'relay TCP connections over a recorded link, in both directions',
  configure(command) {
    command
      .argument('[trace]', LINK_ARGUMENT)
      .requiredOption('--listen <host:port>', 'where clients (the edge) connect; port 0: any')
      .requiredOption('--to <host:port>', 'where their connections go on to (the cloud)')
      .option('--up <file>', 'recording of the uplink')
      .option('--down <file>', 'recording of the downlink')
      .option('--rtt <file>', 'recording of round-trip times')
      .option(
        '--format <name>',
        `format of all recordings named here: ${TRACE_FORMATS.join(', ')} (default: by content)`,
      )
      .option(
        '--bin-seconds <n>',
        'width of the bins in which recordings are replayed (default: 0.1, or what they need)',
        positive,
      )
      .option('--seed <n>', 'of what is drawn: a synthetic link, windows', integerOption({ min: 0 }), 1)
      .option('--model-seconds <n>', 'length of the sample of a synthetic link', positive, 3600)
      .option('--start <seconds>', 'where in the recording to begin', notNegative, 0)
      .option('--speed <x>', 'time compression: rates x, RTT and outages 1/x; for tests', positive, 1)
      .option(
        '--queue-bytes <n>',
        'bytes that may wait in each direction',
        integerOption({ min: 1 }),
        DEFAULT_QUEUE_BYTES,
      )
      .option('--every <seconds>', 'seconds between lines of progress', positive, 5)
      .option('--for-seconds <n>', 'end by itself after so long (default: at Ctrl-C)', positive)
    addJson(addPartOptions(command))
    addExamples(command, [
      [
        'A constant link',
        'link replay constant:up=10,down=40,rtt=30 --listen 127.0.0.1:7500 --to 127.0.0.1:7400',
      ],
      [
        'A recorded LTE drive; mahimahi records no RTT',
        'link replay --up drive.up --down drive.down --rtt-ms 60 --listen 127.0.0.1:7500 --to 127.0.0.1:7400',
      ],
      [
        'Ten times as fast, a summary as JSON after a minute',
        'link replay traces/links/lte-driving.yaml --speed 10 --for-seconds 60 --json --listen 127.0.0.1:0 --to 127.0.0.1:7400',
      ],
    ])
  },
  async run(options, io, [trace]) {
    const listen = parseLoopback(options.listen, '--listen')
    const to = parseLoopback(options.to, '--to')
    const series = await openLinkSource(trace, options)
    const link = createLink(series)
    const { speed, start: startSeconds, queueBytes } = options
    const relay = await startRelay({ listen, to, link, clock: io.clock, speed, startSeconds, queueBytes })
    io.onExit(() => relay.close())
    const begun = io.clock.nowSeconds()
    // With --json, standard output contains only the one object.
    const tell = options.json === true ? (text: string) => io.stderr.write(`${text}\n`) : printTo(io)
    tell(`link: ${series.label}`)
    if (speed !== 1) tell(`time compressed ${speed} times: rates x ${speed}, RTT and outages / ${speed}`)
    tell(`listening on ${showEndpoint(relay)}, relaying to ${showEndpoint(to)} (plaintext, loopback only)`)
    await follow(relay, link, options, io, tell)
    const seconds = io.clock.nowSeconds() - begun
    const stats = relay.stats()
    // After Ctrl-C there is no time for more than this: print first.
    if (options.json === true) {
      const listening = showEndpoint(relay)
      printJson(io, { link: series.label, listening, to: showEndpoint(to), speed, seconds, ...stats })
    } else printLine(io, summary(stats, seconds))
    await relay.close()
  },
}

const printTo =
  (io: Io) =>
  (text: string): void =>
    printLine(io, text)

/** Prints a line now and then, until Ctrl-C or the end of the time. */
async function follow(
  relay: Relay,
  link: Link,
  { speed, every, forSeconds = Infinity }: Options,
  io: Io,
  tell: (text: string) => void,
): Promise<void> {
  const end = io.clock.nowSeconds() + forSeconds
  let before = relay.stats()
  while (!io.signal.aborted) {
    const left = end - io.clock.nowSeconds()
    if (left <= 0) return
    await sleep(1000 * Math.min(every, left), undefined, { signal: io.signal }).catch(() => undefined)
    const stats = relay.stats()
    if (!io.signal.aborted && left > every) tell(progress(stats, before, link, speed, every))
    before = stats
  }
}

function progress(now: RelayStats, before: RelayStats, link: Link, speed: number, seconds: number): string {
  const at = now.linkSeconds
  const lane = (way: 'up' | 'down'): string => {
    const bytes = now[way].deliveredBytes - before[way].deliveredBytes
    const rate = link.bitsPerSecond(way, at) * speed
    return `${way} ${formatBitsPerSecond((8 * bytes) / seconds)} of ${formatBitsPerSecond(rate)}, ${formatBytes(now[way].waitingBytes)} waiting`
  }
  const rtt = formatSeconds(link.rttSeconds(at) / speed)
  return `${formatSeconds(at)}: ${lane('up')}; ${lane('down')}; RTT ${rtt}; ${now.connections.open} open`
}

function summary({ up, down, connections }: RelayStats, seconds: number): string {
  const { total, refused, unreachable, problem } = connections
  const failures = refused + unreachable === 0 ? '' : `, ${refused} refused, ${unreachable} without a target`
  return [
    `${formatSeconds(seconds)}, ${total} connections${failures}${problem === null ? '' : ` (${problem})`}`,
    `up    ${describeLane(up)}`,
    `down  ${describeLane(down)}`,
  ].join('\n')
}

function describeLane(lane: PipeStats): string {
  const { p50, p95, p99 } = lane.latenessSeconds
  const late = `late by ${formatSeconds(p50)} (p50), ${formatSeconds(p95)} (p95), ${formatSeconds(p99)} (p99)`
  const left = lane.receivedBytes - lane.deliveredBytes
  const held = left === 0 ? '' : `, ${formatBytes(left)} not delivered`
  return `${formatBytes(lane.deliveredBytes)}${held}; at most ${formatBytes(lane.largestWaitingBytes)} waiting, ${lane.pauses} pauses; ${late}`
}
