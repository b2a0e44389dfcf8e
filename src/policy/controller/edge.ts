import type { RandomStream } from '../../core/random.ts'
import { openEngine } from '../../core/engine/open.ts'
import type { Engine, EngineKind } from '../../core/engine/types.ts'
import { PlanDecoder } from '../action/planDecoder.ts'
import type { Plan } from '../../plan/plan.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { Policy, Situation } from '../../plan/price/situation.ts'
import { readBundle } from '../bundle/files.ts'
import type { Bundle, ReadOptions } from '../bundle/files.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { LearnedPolicy } from '../actor/learned.ts'
import type { Act } from '../actor/learned.ts'
import { noPlanFits } from './refusals.ts'
import { SessionPolicy } from './sessionPolicy.ts'
import { situationFrom } from './situation.ts'
import type { Conditions } from './situation.ts'

export { EdgewiseError, InputError, IntegrityError } from '../../core/errors.ts'
export type { Plan } from '../../plan/plan.ts'
export type { DecisionProblem } from '../../plan/price/problem.ts'
export type { HeldWeights, MemoryUse } from '../../plan/price/memory.ts'
export type { Situation } from '../../plan/price/situation.ts'
export type { Manifest } from '../bundle/manifest.ts'
export { situationFrom } from './situation.ts'
export type { Conditions, DeviceTerms } from './situation.ts'
export { PlanController } from './planController.ts'
export type { PlanControllerOptions } from './planController.ts'
export type {
  RequestSnapshot,
  ControllerChange,
  ControllerDecision,
  LinkHint,
  RunningRequest,
  FinishedRequestStats,
} from './planControllerTypes.ts'
export type { ShieldOptions } from './shield.ts'
export type { HysteresisOptions } from './hysteresis.ts'
export { decideTimed } from './timing.ts'
export type { TimedDecision } from './timing.ts'

/** What decides: the typed-array kernel on policy.onnx's numbers, or ONNX Runtime on the file itself. */
export type DecisionEngine = 'kernel' | 'session'

/** A bundle that decides. */
export interface OpenBundle {
  readonly manifest: Manifest
  readonly problem: DecisionProblem
  readonly engine: DecisionEngine
  /** What runs it, and its version, for provenance. */
  readonly runs: string
  decide(situation: Situation): Plan | Promise<Plan>
  /** The situation of given conditions on this bundle's device; throws InputError. */
  situation(conditions: Conditions): Situation
  close(): Promise<void>
}

/** Decides at once, on the thread that asks; a Policy, for evaluations too. */
export interface KernelBundle extends OpenBundle, Policy {
  readonly engine: 'kernel'
  decide(situation: Situation): Plan
  /** decide with its observation and propensity; with a stream it explores. Throws InputError where no plan fits. */
  act(situation: Situation, stream: RandomStream | null): Act
}

/** Decides by one run of policy.onnx a row. */
export interface SessionBundle extends OpenBundle {
  readonly engine: 'session'
  decide(situation: Situation): Promise<Plan>
}

/** How a bundle is opened: by which engine it decides, and whose signature it must carry. */
export interface OpenOptions extends ReadOptions {
  /** Default: kernel, the faster one; both decide alike. */
  readonly engine?: DecisionEngine
  /** What a session runs on; default: native, WASM where there is no native binary. */
  readonly session?: EngineKind | 'auto'
}

/**
 * Opens a policy bundle: every byte is checked against the manifest, and its contract against this
 * program's. Throws IntegrityError naming the changed file, or the keys of which none signed the bundle;
 * InputError for everything else.
 */
export function openBundle(
  folder: string,
  options?: OpenOptions & { readonly engine?: 'kernel' },
): Promise<KernelBundle>
export function openBundle(
  folder: string,
  options: OpenOptions & { readonly engine: 'session' },
): Promise<SessionBundle>
export function openBundle(folder: string, options?: OpenOptions): Promise<OpenBundle>
export async function openBundle(folder: string, options: OpenOptions = {}): Promise<OpenBundle> {
  const bundle = readBundle(folder, options)
  return options.engine === 'session' ? openSession(bundle, options.session ?? 'auto') : openKernel(bundle)
}

function openKernel(bundle: Bundle): KernelBundle {
  const { manifest, problem, numbers } = bundle
  const policy = new LearnedPolicy(problem, numbers, manifest.name)
  const decoder = new PlanDecoder(problem)
  const mask = new Uint8Array(Math.max(...manifest.action.heads.map((head) => head.choices)))
  const features = new Float32Array(manifest.action.rowFeatures.length)
  const pinned = problem.edgeLayersFirst + problem.edgeLayersLast > 0
  const checkFits = (situation: Situation): void => {
    if (!pinned) return
    decoder.begin(situation)
    if (decoder.input(0, features, mask) === 0) throw noPlanFits(problem, situation)
  }
  return {
    ...commonOf(bundle),
    engine: 'kernel',
    runs: 'kernel',
    name: manifest.name,
    decide: (situation) => {
      checkFits(situation)
      return policy.decide(situation)
    },
    act: (situation, stream) => {
      checkFits(situation)
      return policy.act(situation, stream)
    },
    close: () => Promise.resolve(),
  }
}

async function openSession(bundle: Bundle, kind: EngineKind | 'auto'): Promise<SessionBundle> {
  const { problem, numbers, model } = bundle
  const engine: Engine = await openEngine(kind)
  let policy: SessionPolicy
  try {
    policy = await SessionPolicy.open(problem, numbers.spec, model, engine)
  } catch (error) {
    await engine.close()
    throw error
  }
  return {
    ...commonOf(bundle),
    engine: 'session',
    runs: `${engine.info.name} ${engine.info.version}`,
    decide: (situation) => policy.decide(situation),
    close: async () => {
      await policy.close()
      await engine.close()
    },
  }
}

function commonOf({ manifest, problem }: Bundle): Pick<OpenBundle, 'manifest' | 'problem' | 'situation'> {
  return {
    manifest,
    problem,
    situation: (conditions) => situationFrom(problem, manifest.problem, conditions),
  }
}
