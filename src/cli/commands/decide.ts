import type { Conditions } from '../../policy/controller/edge.ts'
import { decideTimed, openBundle } from '../../policy/controller/edge.ts'
import { formatNumber, formatSeconds } from '../../report/numbers.ts'
import type { CliCommand } from '../command.ts'
import { addExamples, addJson } from '../command.ts'
import { printJson, printLine } from '../io.ts'
import { decideJson } from '../json/bundle.ts'
import { needed } from '../json/request.ts'
import { integerOption, numberOption, requireChoice } from '../options.ts'
import { addTrust, readTrust } from '../trust.ts'
import { describePlan, figuresText, mapOf } from './oracleTable.ts'

interface Options {
  readonly upMbps?: number
  readonly downMbps?: number
  readonly rttMs?: number
  readonly prompt: number
  readonly output: number
  readonly tenants?: number
  readonly tenantsAgeSeconds?: number
  readonly waiting?: number
  readonly inFlight?: number
  readonly edgeBacklogSeconds?: number
  readonly cloudBacklogSeconds?: number
  readonly sinceHeartbeatSeconds?: number
  readonly memoryGb?: number
  readonly engine: string
  readonly trust?: readonly string[]
  readonly json?: boolean
}

const ENGINES = ['kernel', 'session'] as const
const amount = numberOption({ min: 0 })

export const decide: CliCommand<Options> = {
  name: 'decide',
  summary: 'what a bundle decides under given conditions, and how fast',
  configure(command) {
    command
      .argument('<bundle>', 'bundle folder')
      .option('--up-mbps <n>', 'uplink, Mbit/s', amount)
      .option('--down-mbps <n>', 'downlink, Mbit/s', amount)
      .option('--rtt-ms <n>', 'round-trip time, milliseconds', amount)
      .option('--prompt <tokens>', 'tokens of the prompt', integerOption({ min: 1 }), 256)
      .option('--output <tokens>', 'predicted tokens of the answer', integerOption({ min: 1 }), 128)
      .option('--waiting <n>', 'requests waiting, this one included', integerOption({ min: 1 }))
      .option('--in-flight <n>', 'requests under way', integerOption({ min: 0 }))
      .option('--edge-backlog-seconds <s>', 'edge work left of those under way', amount)
      .option('--cloud-backlog-seconds <s>', 'cloud work left of those under way', amount)
      .option('--tenants <n>', "other tenants' sequences in the cloud, as last heard", amount)
      .option('--tenants-age-seconds <s>', 'how old that report is', amount)
      .option(
        '--since-heartbeat-seconds <s>',
        'since the last answered heartbeat; more than 3 s is an outage',
        amount,
      )
      .option('--memory-gb <n>', 'edge memory that the plan may take, 10^9 bytes', amount)
      .option(
        '--engine <kind>',
        'what decides: kernel (typed arrays), or session (policy.onnx itself)',
        'kernel',
      )
    addTrust(command)
    addJson(command)
    addExamples(command, [
      ['A good link', 'decide exports/mine --up-mbps 50 --down-mbps 200 --rtt-ms 20'],
      [
        'A busy edge on a poor link',
        'decide exports/mine --up-mbps 1 --down-mbps 4 --rtt-ms 150 --waiting 6 --edge-backlog-seconds 12',
      ],
      [
        'By ONNX Runtime, for a script',
        'decide exports/mine --up-mbps 20 --down-mbps 50 --rtt-ms 40 --engine session --json',
      ],
    ])
  },
  async run(options, io, [folder]) {
    const conditions = conditionsOf(options)
    const engine = requireChoice('--engine', options.engine, ENGINES)
    const bundle = await openBundle(folder, { engine, ...readTrust(options.trust) })
    try {
      const timed = await decideTimed(bundle, bundle.situation(conditions), io.clock)
      if (options.json === true) {
        printJson(io, decideJson(bundle, conditions, timed))
        return
      }
      printLine(
        io,
        `${bundle.manifest.name} decides: ${describePlan(bundle.problem, timed.plan)}, in ${formatSeconds(timed.medianSeconds)} ` +
          `(p99 ${formatSeconds(timed.p99Seconds)} of ${formatNumber(timed.repeats)}; ${bundle.runs}); ` +
          `${figuresText(bundle.problem.pair)}\n`,
      )
      const title = `${conditions.upMbps} Mbit/s up, ${conditions.downMbps} down, ${conditions.rttMs} ms`
      printLine(io, mapOf(bundle.problem, timed.plan, title, io))
    } finally {
      await bundle.close()
    }
  },
}

function conditionsOf(options: Options): Conditions {
  const optional: Partial<Conditions> = {
    waitingRequests: options.waiting,
    inFlight: options.inFlight,
    edgeBacklogSeconds: options.edgeBacklogSeconds,
    cloudBacklogSeconds: options.cloudBacklogSeconds,
    tenants: options.tenants,
    tenantsAgeSeconds: options.tenantsAgeSeconds,
    sinceHeartbeatSeconds: options.sinceHeartbeatSeconds,
    freeMemoryBytes: options.memoryGb === undefined ? undefined : options.memoryGb * 1e9,
  }
  return {
    upMbps: needed('--up-mbps', options.upMbps),
    downMbps: needed('--down-mbps', options.downMbps),
    rttMs: needed('--rtt-ms', options.rttMs),
    promptTokens: options.prompt,
    outputTokens: options.output,
    ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
  }
}
