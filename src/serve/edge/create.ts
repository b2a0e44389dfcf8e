import type { Address } from '../../core/address.ts'
import { systemClock, type Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import { randomStream, type RandomStream } from '../../core/random.ts'
import { systemTimers, type Timers } from '../../core/timers.ts'
import { attentionUnits, type ModelSpec } from '../../model/spec.ts'
import { RUNTIME_PRECISIONS, type RuntimePrecision } from '../../model/precision.ts'
import type { PretrainedModel } from '../../model/weights/pretrained.ts'
import { NO_BUDGETS, type BudgetUses } from '../../plan/price/budgets.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import { connectToCloud, type TransportOptions } from '../../run/executor/connectToCloud.ts'
import type { ConnectionState } from '../../run/executor/recoveryTypes.ts'
import { GREEDY, type SamplingParams } from '../../run/executor/types.ts'
import { ANONYMOUS, type ApiKeys } from '../http/keys.ts'
import { Registry } from '../http/metrics.ts'
import type { ApiLimits, ApiServer, ApiTls } from '../http/options.ts'
import { startApi } from '../http/server.ts'
import { BackendError, type Backend, type CompletionOutput } from '../http/types.ts'
import { openSide, type OpenedSide, type SideOptions } from '../side.ts'
import { openEdgeLogs, type EdgeLogs } from './logs.ts'
import { openEdgeService, type OpenedService } from './open.ts'
import { planAlone, planSelectorOf, type DeciderOptions } from './planSelector.ts'
import { DEFAULT_LIMITS, type PlanSelector, type ServiceEvent, type ServiceLimits } from './types.ts'

/** What an edge is opened with: its model, its cloud, who decides, and what it serves. */
export interface EdgeOptions extends SideOptions, DeciderOptions {
  /** Where the cloud listens; left out: an edge without a cloud. */
  readonly cloud?: Address
  /** How the cloud is reached; default: plain TCP. */
  readonly transport?: TransportOptions
  /** Where the OpenAI-compatible API is served; left out: it is not, and `generate` is the only way in. */
  readonly listen?: ApiListenOptions
  /** Folder for the log of decisions and the journal of requests; left out: nothing is written. */
  readonly logFolder?: string
  /** What is left out is as in DEFAULT_LIMITS. */
  readonly limits?: Partial<ServiceLimits>
  /** Of the HTTP server; what is left out is as in DEFAULT_API_LIMITS. */
  readonly apiLimits?: Partial<ApiLimits>
  /** Hears everything that happens; events may come before createEdge resolves. */
  readonly onEvent?: (event: ServiceEvent) => void
  /** Hears of what the API answered with status 500; the application is told the request's id alone. */
  readonly onDefect?: (error: unknown, requestId: string) => void
  /** Default: the system's. */
  readonly timers?: Timers
  /** Makes a stream of random numbers: backoff jitter, names of requests, seeds; default: by the clock. */
  readonly random?: (name: string) => RandomStream
}

/** Where the API listens, and who may use it. */
export interface ApiListenOptions extends Address {
  /** Who may use it; default: anyone on this machine. */
  readonly keys?: ApiKeys | null
  /** HTTPS; needed, with keys, off loopback. */
  readonly tls?: ApiTls
}

/** How long closing waits for requests that were given up to notice it. */
const GIVE_UP_SECONDS = 5

/** One text to go on with. */
export interface EdgeRequest {
  /** A text, where the model has a tokenizer, or token ids. */
  readonly prompt: string | readonly number[]
  /** Default 64. */
  readonly maxNewTokens?: number
  /** Default: the likeliest token. */
  readonly sampling?: Partial<SamplingParams>
  /** Asked for again under this key, the request goes on where it was; default: none. */
  readonly key?: string
  /** Seconds from now after which it is given up; default: the limit of all requests. */
  readonly deadlineSeconds?: number
  readonly signal?: AbortSignal
  /** Each token as it comes. */
  readonly onToken?: (id: number) => void
}

/** A whole answer, in tokens and in text. */
export interface EdgeOutput extends CompletionOutput {
  /** Null where the model has no tokenizer. */
  readonly text: string | null
}

/** An edge that serves. */
export interface Edge {
  /** Where the API listens, with the port that it got, or null without one. */
  readonly address: Address | null
  /** Of the API, without `/v1`, or null without one. */
  readonly url: string | null
  readonly model: { readonly id: string; readonly fingerprint: string }
  readonly precision: RuntimePrecision
  /** Heads (or K/V groups) of a layer. */
  readonly units: number
  /** Name of what decides, e.g. `the plan cut:3`. */
  readonly decider: string
  /** Figures and budgets that it decides on; null where a plan was named, and for the static fallback. */
  readonly problem: DecisionProblem | null
  readonly logFolder: string | null
  /** What stands behind the API: completions in tokens. */
  readonly service: Backend
  /** Requests that wait and that are carried out. */
  readonly queue: { readonly waiting: number; readonly inFlight: number }
  /** Null without a cloud. */
  readonly linkState: ConnectionState | null
  /** Round trip of the last heartbeat, or null before the first. */
  readonly rttSeconds: number | null
  /** Mean modelled use a request of each budget of the bundle; null before a request finished, and without a bundle. */
  readonly budgetUses: BudgetUses | null
  /** Rejects with BackendError where it could not be carried out, and InputError for a request that cannot be. */
  generate(request: EdgeRequest): Promise<EdgeOutput>
  /**
   * Takes nothing new, gives the requests under way `drainSeconds` (default 30), then closes everything. Says how many
   * requests were given up.
   */
  close(options?: { readonly drainSeconds?: number }): Promise<{ readonly givenUp: number }>
}

/**
 * Opens a model, connects to its cloud, where there is one, and serves it. Throws InputError for what cannot be opened
 * or listened on, and where nothing could carry a request out. A cloud that cannot be reached is no error: it is
 * dialled until it is there.
 */
export async function createEdge(options: EdgeOptions): Promise<Edge> {
  const side = await openSide(options)
  try {
    return await composeEdge(options, side)
  } catch (error) {
    await side.close()
    throw error
  }
}

async function composeEdge(options: EdgeOptions, side: OpenedSide): Promise<Edge> {
  const { model, logFolder, bundle, clock = systemClock, timers = systemTimers, onEvent = () => {} } = options
  if (options.listen !== undefined && side.pretrained.tokenizer === null) throw withoutTokenizer(model)
  // What happens before the service is open waits for its one stream of events.
  const early: ServiceEvent[] = []
  let emit = (event: ServiceEvent): void => void early.push(event)
  const onError = (error: Error): void => {
    const reason = `${logFolder} cannot be written, serving goes on without: ${error.message}`
    emit({ kind: 'degraded', atSeconds: clock.nowSeconds(), part: 'log', reason })
  }
  let logs: EdgeLogs | null = null
  let opened: OpenedService | null = null
  try {
    const limits = { ...DEFAULT_LIMITS, ...options.limits }
    const { outageSeconds } = limits
    const hasCloud = options.cloud !== undefined
    const selector = await planSelectorOf(
      { ...options, hasCloud, outageSeconds, clock, onEvent: emit },
      side,
      planAlone(side),
    )
    if (logFolder !== undefined) {
      // The header says which budgets hold: the bundle is opened before.
      const budgets = selector.problem?.budgets ?? NO_BUDGETS
      logs = await openEdgeLogs({ folder: logFolder, bundle, budgets, clock, timers, onError }, side)
    }
    const registry = new Registry()
    const random = options.random ?? streamsBy(clock)
    const parts = { side, logs, selector, registry, limits, clock, timers, random }
    opened = openService(options, parts, early)
    emit = opened.emit
    const api = options.listen === undefined ? null : await openApi(options, options.listen, opened, parts)
    return edgeOf(opened, api, parts)
  } catch (error) {
    if (opened === null) early.forEach(onEvent)
    await opened?.close()
    await logs?.close()
    throw error
  }
}

interface Parts {
  readonly side: OpenedSide
  readonly logs: EdgeLogs | null
  readonly selector: PlanSelector
  readonly registry: Registry
  readonly limits: ServiceLimits
  readonly clock: Clock
  readonly timers: Timers
  readonly random: (name: string) => RandomStream
}

function openService(
  { cloud, transport = {}, model: modelArgument, onEvent = () => {} }: EdgeOptions,
  { side, logs, selector, registry, limits, clock, timers, random }: Parts,
  early: ServiceEvent[],
): OpenedService {
  const { pretrained, greeting, execution, memory } = side
  const { source, stopIds, fingerprint } = pretrained
  const { id, contextTokens } = source.model
  const precision = requiredOfCloud(selector, clock, (event) => early.push(event))
  return openEdgeService({
    served: { id, createdSeconds: 0, contextTokens, fingerprint },
    spec: source.model,
    stopIds,
    execution,
    selector,
    registry,
    early,
    onEvent,
    dial:
      cloud === undefined
        ? null
        : (signal) =>
            connectToCloud({ address: cloud, transport, greeting, precision, modelArgument, clock, signal }),
    log: logs?.decisions ?? null,
    requests: logs?.requests ?? null,
    dropped: () => logs?.dropped() ?? 0,
    memory,
    limits,
    time: { clock, timers },
    random: random('backoff'),
  })
}

/**
 * The precision that the cloud must have, since decisions rest on figures of it. Null without such figures, and where
 * they are of a data sheet at fp16, which no cloud of this runtime has: of that an event tells.
 */
function requiredOfCloud(
  { problem, name }: PlanSelector,
  clock: Clock,
  onEvent: (event: ServiceEvent) => void,
): RuntimePrecision | null {
  if (problem === undefined) return null
  const { cloudPrecision } = problem.pair
  const required = RUNTIME_PRECISIONS.find((precision) => precision === cloudPrecision)
  if (required !== undefined) return required
  const reason =
    `${name} decides on figures of a cloud at ${cloudPrecision}, and a cloud runs ` +
    `${RUNTIME_PRECISIONS.join(', ')}; --cloud-profile takes figures of yours`
  onEvent({ kind: 'degraded', atSeconds: clock.nowSeconds(), part: 'policy', reason })
  return null
}

function openApi(
  { apiLimits, onDefect }: EdgeOptions,
  { host, port, keys = null, tls }: ApiListenOptions,
  { service }: OpenedService,
  { side, registry, clock, timers, random }: Parts,
): Promise<ApiServer> {
  const { tokenizer, chat } = side.pretrained
  return startApi({
    backend: service,
    tokenizer: tokenizer!,
    chat,
    host,
    port,
    keys,
    tls,
    limits: apiLimits,
    clock,
    timers,
    registry,
    random: random('api'),
    onDefect,
  })
}

function edgeOf(opened: OpenedService, api: ApiServer | null, { side, logs, selector, clock }: Parts): Edge {
  const { service, link } = opened
  // Aborts the calls of `generate` that are left once there is no more time to wait for them.
  const giveUp = new AbortController()
  let calls = 0
  const end = async (drainSeconds: number): Promise<{ givenUp: number }> => {
    const untilSeconds = clock.nowSeconds() + drainSeconds
    const { givenUp } = (await api?.drain(drainSeconds)) ?? { givenUp: 0 }
    await service.drain(Math.max(0, untilSeconds - clock.nowSeconds()))
    const left = calls
    giveUp.abort()
    // A request that is given up ends at its next token; the engine must be there until then.
    await service.drain(GIVE_UP_SECONDS)
    await opened.close()
    await logs?.close()
    await side.close()
    return { givenUp: givenUp + left }
  }
  let closed: Promise<{ givenUp: number }> | null = null
  return {
    address: api && { host: api.address, port: api.port },
    url: api && api.url,
    model: side.greeting.model,
    precision: side.precision,
    units: attentionUnits(side.pretrained.source.model),
    decider: selector.name,
    problem: selector.problem ?? null,
    logFolder: logs?.folder ?? null,
    service,
    get queue() {
      return service.queue
    },
    get linkState() {
      return link?.state ?? null
    },
    get budgetUses() {
      return selector.budgetUses?.() ?? null
    },
    get rttSeconds() {
      return opened.rttSeconds()
    },
    generate: (request) => {
      calls++
      const arrivedSeconds = clock.nowSeconds()
      return generate(service, side, request, arrivedSeconds, giveUp.signal).finally(() => calls--)
    },
    close: ({ drainSeconds = 30 } = {}) => (closed ??= end(drainSeconds)),
  }
}

async function generate(
  service: Backend,
  { pretrained }: OpenedSide,
  request: EdgeRequest,
  arrivedSeconds: number,
  giveUp: AbortSignal,
): Promise<EdgeOutput> {
  const { source, tokenizer, stopIds } = pretrained
  const { maxNewTokens = 64, key = null, deadlineSeconds = null, onToken = () => {} } = request
  const prompt = promptIds(request.prompt, pretrained)
  checkLength(prompt, maxNewTokens, source.model)
  const signal = request.signal === undefined ? giveUp : AbortSignal.any([request.signal, giveUp])
  const sampling = { ...GREEDY, ...request.sampling }
  const completion = service.complete(
    { prompt, maxNewTokens, sampling, key, arrivedSeconds, deadlineSeconds, principal: ANONYMOUS },
    {
      signal,
      onToken: (id) => {
        // A request that waits for no message hears of an abort here alone.
        if (signal.aborted) throw new BackendError('E_CANCELLED', 'the request was cancelled')
        onToken(id)
      },
    },
  )
  const { ids, finish } = await completion.catch((error: unknown) => {
    // Wrong input, as a request that is too long for the context is.
    throw error instanceof BackendError && error.code === 'E_TOO_LARGE' ? error.cause : error
  })
  const text = tokenizer === null ? null : tokenizer.decode(ids.filter((id) => !stopIds.includes(id)))
  return { ids, finish, text }
}

function promptIds(prompt: EdgeRequest['prompt'], { source, tokenizer }: PretrainedModel): readonly number[] {
  const { id, vocabulary } = source.model
  if (typeof prompt === 'string') {
    if (tokenizer !== null) return tokenizer.encode(prompt)
    throw new InputError({
      where: 'prompt',
      expected: `token ids: ${id} has no tokenizer`,
      found: 'a text',
      remedy: 'give the prompt as an array of token ids',
    })
  }
  const beyond = prompt.find((one) => !Number.isInteger(one) || one < 0 || one >= vocabulary)
  if (beyond === undefined) return prompt
  const expected = `ids in 0..${vocabulary - 1}, the vocabulary of ${id}`
  throw new InputError({ where: 'prompt', expected, found: String(beyond) })
}

function checkLength(prompt: readonly number[], maxNewTokens: number, model: ModelSpec): void {
  const { id, contextTokens } = model
  if (prompt.length > 0 && maxNewTokens >= 1 && prompt.length + maxNewTokens <= contextTokens) return
  throw new InputError({
    where: 'request',
    expected: `at least 1 token of prompt and 1 of output, together at most ${contextTokens}, the context of ${id}`,
    found: `${prompt.length} and ${maxNewTokens}`,
    remedy: 'shorten the prompt or lower maxNewTokens',
  })
}

/** Jitter and seeds that nobody asked for must differ from run to run. */
function streamsBy(clock: Clock): (name: string) => RandomStream {
  return (name) => randomStream(Math.floor(clock.nowSeconds() * 1e6) % 2 ** 32, `${name} ${clock.wallTime()}`)
}

function withoutTokenizer(model: string): InputError {
  return new InputError({
    where: `--model ${model}`,
    expected: 'a model with a tokenizer: an API speaks text',
    found: 'none',
    remedy: 'put its tokenizer.json beside the weights',
  })
}
