import { setMaxListeners } from 'node:events'
import { Registry } from '../../serve/http/metrics.ts'
import { DEFAULT_API_LIMITS, type ApiServer } from '../../serve/http/options.ts'
import { startApi } from '../../serve/http/server.ts'
import { InputError } from '../../core/errors.ts'
import { randomStream } from '../../core/random.ts'
import { attentionUnits } from '../../model/spec.ts'
import { openEdgeService, type OpenedService } from '../../serve/edge/open.ts'
import { DEFAULT_LIMITS, type PlanSelector, type ServiceEvent } from '../../serve/edge/types.ts'
import { systemTimers } from '../../core/timers.ts'
import type { EdgeOptions } from '../commands/edge.ts'
import type { Io } from '../io.ts'
import { printLine } from '../io.ts'
import type { ServingJson } from '../json/serve.ts'
import { EXIT_INTERRUPTED } from '../program.ts'
import { openSide, type OpenedSide } from '../split/side.ts'
import { apiAccess } from './access.ts'
import { planSelectorOf, planAlone } from './planSelector.ts'
import { dialOf } from './dial.ts'
import { openLogs, type Logs } from './logs.ts'
import { reporterOf } from './reporter.ts'
import { untilAborted } from './wait.ts'

/** Serves the API until it is told to stop, then drains. */
export async function serveEdge(options: EdgeOptions, io: Io): Promise<number> {
  const access = apiAccess(options, io)
  const side = await openSide(options, io)
  // Every request listens for Ctrl-C.
  setMaxListeners(0, io.signal)
  try {
    const logs = await openLogs(options, side, io)
    try {
      return await serve(options, { side, logs, access }, io)
    } finally {
      await logs.close()
    }
  } finally {
    await side.close()
  }
}

interface Parts {
  readonly side: OpenedSide
  readonly logs: Logs
  readonly access: ReturnType<typeof apiAccess>
}

async function serve(options: EdgeOptions, { side, logs, access }: Parts, io: Io): Promise<number> {
  const { tokenizer, chat } = side.pretrained
  if (tokenizer === null) throw withoutTokenizer(options)
  const registry = new Registry()
  // Events may come before who shows them knows the service.
  const early: ServiceEvent[] = []
  let show = (event: ServiceEvent): void => void early.push(event)
  const take = (event: ServiceEvent): void => show(event)
  const alone = planAlone(side, options.memoryGb * 1e9)
  const decider = await planSelectorOf(options, side, alone, take, io)
  const opened = openService(options, side, logs, decider, registry, take, io)
  try {
    const api = await startApi({
      ...{ backend: opened.service, tokenizer, chat, ...access },
      limits: { requestSeconds: Math.min(DEFAULT_API_LIMITS.requestSeconds, options.deadlineSeconds) },
      ...{ clock: io.clock, timers: systemTimers, registry, random: streamOf(io, 'api') },
      onDefect: (error, id) => io.stderr.write(`a defect in ${id}: ${String((error as Error).stack)}\n`),
    })
    announce(api, side, decider, logs, options, io)
    show = reporterOf(options, opened, attentionUnits(side.pretrained.source.model), io)
    for (const event of early) show(event)
    await untilAborted(io.signal)
    const { givenUp } = await api.drain(options.drainSeconds)
    if (givenUp > 0) io.stderr.write(`${givenUp} requests were given up after ${options.drainSeconds} s\n`)
    return EXIT_INTERRUPTED
  } finally {
    await opened.close()
  }
}

function openService(
  options: EdgeOptions,
  side: OpenedSide,
  logs: Logs,
  decider: PlanSelector,
  registry: Registry,
  onEvent: (event: ServiceEvent) => void,
  io: Io,
): OpenedService {
  const { source, stopIds, fingerprint } = side.pretrained
  const { model } = source
  const { maxInFlight, maxQueued, recoverySeconds, deadlineSeconds, outageSeconds } = options
  return openEdgeService({
    served: { id: model.id, createdSeconds: 0, contextTokens: model.contextTokens, fingerprint },
    ...{ spec: model, stopIds, execution: side.execution, decider, registry, onEvent },
    ...{
      dial: dialOf(options, side, io),
      log: logs.decisions,
      requests: logs.requests,
      dropped: logs.dropped,
    },
    memoryBytes: options.memoryGb * 1e9,
    limits: {
      ...DEFAULT_LIMITS,
      ...{ maxInFlight, maxQueued, recoverySeconds, outageSeconds, totalSeconds: deadlineSeconds },
    },
    time: { clock: io.clock, timers: systemTimers },
    random: streamOf(io, 'backoff'),
  })
}

/** Jitter and seeds that nobody asked for must differ from run to run. */
function streamOf(io: Io, name: string): ReturnType<typeof randomStream> {
  return randomStream(Math.floor(io.clock.nowSeconds() * 1e6) % 2 ** 32, `${name} ${io.clock.wallTime()}`)
}

function announce(
  api: ApiServer,
  side: OpenedSide,
  decider: PlanSelector,
  logs: Logs,
  options: EdgeOptions,
  io: Io,
): void {
  const { model, precision } = side.greeting
  if (options.json === true) {
    const { id, fingerprint } = model
    const serving = { url: api.url, host: api.address, port: api.port, model: id, fingerprint, precision }
    const line: ServingJson = { serving: { ...serving, decider: decider.name, log: logs.folder } }
    io.stdout.write(`${JSON.stringify(line)}\n`)
    return
  }
  printLine(
    io,
    `${model.id} (${precision}) answers on ${api.url}/v1, decided by ${decider.name}; Ctrl-C ends it.\n` +
      `log: ${logs.folder}\n` +
      `try: curl ${api.url}/v1/chat/completions -H 'content-type: application/json' ` +
      `-d '{"model":"${model.id}","messages":[{"role":"user","content":"Once there was"}],"max_tokens":64}'`,
  )
}

function withoutTokenizer({ model }: EdgeOptions): InputError {
  return new InputError({
    where: `--model ${model}`,
    expected: 'a model with a tokenizer: an API speaks text',
    found: 'none',
    remedy: 'put its tokenizer.json beside the weights',
  })
}
