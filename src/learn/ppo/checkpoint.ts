import { loadArray, packArchive, unpackArchive } from '../../core/archive.ts'
import type { ArchiveArray } from '../../core/archive.ts'
import { InputError, show } from '../../core/errors.ts'
import { canonicalJson } from '../../core/files.ts'
import type { RandomState } from '../../core/random.ts'
import type { EngineInfo } from '../../core/engine/types.ts'
import type { ActorSpec } from '../../policy/actor/actor.ts'
import type { PpoConfig } from './config.ts'

const FORMAT = 'edgewise-trainer-1'

/** What must agree between a checkpoint and the trainer that resumes it. */
export interface TrainerIdentity {
  readonly environment: string
  readonly config: PpoConfig
  readonly spec: ActorSpec
  readonly engine: EngineInfo
}

/** Counters, scales and random streams: the state outside the arrays. */
export interface TrainerState {
  readonly updates: number
  readonly powers: readonly [number, number]
  readonly momentCount: number
  readonly scales: readonly (readonly number[])[]
  readonly episodes: { running: number[] }
  readonly actionStreams: readonly RandomState[]
  readonly shuffleStream: RandomState
}

type Arrays = Readonly<Record<string, ArchiveArray>>

/** Encodes a checkpoint: named arrays and JSON, followed by their hash. */
export function packCheckpoint(
  identity: TrainerIdentity,
  state: TrainerState,
  arrays: Arrays,
  environment: Uint8Array,
): Uint8Array {
  return packArchive({ json: { format: FORMAT, ...identity, state }, arrays: { ...arrays, environment } })
}

/**
 * Reads a checkpoint for a trainer of this identity; `load` then copies its arrays into `arrays`. Throws IntegrityError
 * for damaged bytes, and InputError naming the difference for a checkpoint of another trainer.
 */
export function unpackCheckpoint(
  bytes: Uint8Array,
  identity: TrainerIdentity,
  arrays: Arrays,
  where: string,
): { state: TrainerState; environment: Uint8Array; load: () => void } {
  const archive = unpackArchive(bytes, where)
  const json = archive.json as Readonly<Record<string, unknown>>
  const remedy = 'resume with the settings, environment and engine the checkpoint was written with'
  for (const [name, value] of Object.entries({ format: FORMAT, ...identity })) {
    const [expected, found] = [canonicalJson(value), canonicalJson(json[name] ?? null)]
    if (expected !== found) {
      throw new InputError({
        where: `${where}: ${name}`,
        expected: show(expected, 400),
        found: show(found, 400),
        remedy,
      })
    }
  }
  const loadInto = (copy: boolean): void => {
    for (const [name, target] of Object.entries(arrays))
      loadArray(archive, name, copy ? target.slice() : target, where)
  }
  loadInto(true)
  const environment = archive.arrays.environment as Uint8Array
  return { state: json.state as TrainerState, environment, load: () => loadInto(false) }
}
