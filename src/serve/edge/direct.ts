import type { Address } from '../../core/address.ts'
import { systemClock } from '../../core/clock.ts'
import { EdgewiseError } from '../../core/errors.ts'
import type { RuntimePrecision } from '../../model/precision.ts'
import type { PretrainedModel } from '../../model/weights/pretrained.ts'
import { accuracyTableOf } from '../../plan/profile/accuracyFile.ts'
import type { ReadOptions } from '../../policy/bundle/files.ts'
import type { HelloPayload } from '../../run/executor/hello.ts'
import { connectToCloud, type TransportOptions } from '../../run/executor/connectToCloud.ts'
import { EdgeExecutor } from '../../run/executor/edge.ts'
import { ExecutionError } from '../../run/executor/errors.ts'
import { fixedLink } from '../../run/executor/link.ts'
import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { GenerationRequest, OutputToken, RequestOutput } from '../../run/executor/types.ts'
import { MeteredConnection, type RequestBytes } from '../../run/wire/metered.ts'
import { openSide, type OpenedSide, type SideOptions } from '../side.ts'
import { decideByBundle, type BundleDecision, type ExpectedRequest } from './decideByBundle.ts'
import { readPlan } from './planWords.ts'
import { bundleOptions, requireCloud, type DeciderOptions } from './planSelector.ts'

/** What a direct edge is opened with. */
export interface DirectEdgeOptions extends SideOptions, DeciderOptions {
  /** Where the cloud listens; left out: plans that need one are refused. */
  readonly cloud?: Address
  readonly transport?: TransportOptions
  /** Requests carried out at once. */
  readonly maxInFlight: number
  /** Ends the dialling, and every request. */
  readonly signal: AbortSignal
}

/** One request, whole or as far as it came. */
export interface GenerationOutcome {
  readonly request: GenerationRequest
  readonly tokens: readonly OutputToken[]
  /** Null where it did not come to its end. */
  readonly result: RequestOutput | null
  readonly interrupted: boolean
}

/** Precision of the weights that compute on each side. */
export interface SidePrecisions {
  readonly edge: RuntimePrecision
  /** Null without a cloud. */
  readonly cloud: RuntimePrecision | null
}

interface GenerateOptions {
  readonly explain: boolean
  readonly onToken: (token: OutputToken) => void
}

/** An edge for a fixed set of requests under one plan: one connection, no recovery, no API and no log. */
export class DirectEdge {
  readonly pretrained: PretrainedModel
  private readonly options: DirectEdgeOptions
  private readonly side: OpenedSide
  private given: ResolvedPlan | null = null
  private connection: MeteredConnection | null = null
  private executor: EdgeExecutor | null = null

  private constructor(options: DirectEdgeOptions, side: OpenedSide) {
    this.options = options
    this.side = side
    this.pretrained = side.pretrained
  }

  /** Opens the model and reads the plan. Throws InputError. */
  static async open(options: DirectEdgeOptions): Promise<DirectEdge> {
    const side = await openSide(options)
    try {
      const edge = new DirectEdge(options, side)
      if (options.plan !== undefined) edge.given = edge.readPlan(options.plan)
      return edge
    } catch (error) {
      await side.close()
      throw error
    }
  }

  /** A plan in a word or a JSON file. Throws InputError for one that cannot be, or needs a cloud that there is not. */
  readPlan(text: string): ResolvedPlan {
    const { accuracyFile, cloud } = this.options
    const { source, path } = this.pretrained
    const { ranking } = accuracyTableOf(source.model, path, accuracyFile)
    const plan = readPlan(text, source, ranking)
    requireCloud(plan, cloud !== undefined)
    return plan
  }

  /** Of the weights on each side; the cloud's is null without a connection to one. */
  get precision(): SidePrecisions {
    const cloud = this.connection === null ? null : (this.connection.peer as HelloPayload).precision
    return { edge: this.side.precision, cloud }
  }

  /** Bytes of all requests so far, or null without a cloud. */
  get bytes(): RequestBytes | null {
    return this.connection?.bytes ?? null
  }

  /**
   * Connects to the cloud, where there is one, and settles the plan: the one that was named, else the bundle's for the
   * link as it is now. Throws InputError (also for a
   * plan that does not fit the edge's memory), ConnectionError or WireError.
   */
  async prepare(
    expected: ExpectedRequest,
  ): Promise<{ readonly plan: ResolvedPlan; readonly decision: BundleDecision | null }> {
    const { bundle, cloud, clock = systemClock, maxInFlight } = this.options
    const { source } = this.pretrained
    const { memory } = this.side
    const kvTokens = expected.promptTokens + expected.maxNewTokens
    if (this.given !== null) memory.check(this.given.plan, kvTokens)
    if (cloud !== undefined) this.connection ??= await this.connect(cloud)
    const decision =
      this.given === null
        ? await decideByBundle(
            bundle!,
            this.bundleOptions(),
            source,
            this.connection,
            expected,
            clock,
            memory.limitBytes,
          )
        : null
    const plan = this.given ?? decision!.resolved
    requireCloud(plan, cloud !== undefined)
    memory.check(plan.plan, kvTokens)
    this.executor ??= new EdgeExecutor({
      model: source.model,
      runner: this.side.execution.runner,
      clock,
      link: this.connection === null ? null : fixedLink(this.connection),
      maxInFlight,
      memory,
    })
    return { plan, decision }
  }

  /**
   * Carries a request out, after `prepare`. An abort ends it with the tokens that it has; every other failure is
   * thrown, the tokens so far went to `onToken`.
   */
  generate(request: GenerationRequest, options: GenerateOptions): Promise<GenerationOutcome> {
    return generateOne(this.executor!, request, options, this.options.signal)
  }

  async close(): Promise<void> {
    await this.connection?.close()
    await this.side.close()
  }

  /** The cloud has told its precision, where there is one. */
  private bundleOptions(): ReadOptions {
    const { edge, cloud } = this.precision
    return bundleOptions(this.options, edge, cloud)
  }

  private async connect(address: Address): Promise<MeteredConnection> {
    const { transport = {}, model, clock = systemClock, signal } = this.options
    const { greeting } = this.side
    return new MeteredConnection(
      await connectToCloud({ address, transport, greeting, modelArgument: model, clock, signal }),
    )
  }
}

async function generateOne(
  executor: EdgeExecutor,
  request: GenerationRequest,
  { explain, onToken }: GenerateOptions,
  signal: AbortSignal,
): Promise<GenerationOutcome> {
  const tokens: OutputToken[] = []
  try {
    const result = await executor.generate(request, {
      signal,
      explain,
      onToken: (token) => {
        // A request that waits for no message hears of an abort here alone.
        if (signal.aborted) throw new ExecutionError('E_CANCELLED', 'the request was cancelled')
        tokens.push(token)
        onToken(token)
      },
    })
    return { request, tokens: result.tokens, result, interrupted: false }
  } catch (error) {
    if (!signal.aborted || !(error instanceof EdgewiseError)) throw error
    return { request, tokens, result: null, interrupted: true }
  }
}
