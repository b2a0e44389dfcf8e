import { InputError } from '../src/core/errors.ts'
import type { SingleEnv } from './api.ts'
import { partition, type PartitionOptions } from './partition.ts'

/** What each environment is made from; ids have a version, as in Gymnasium. */
export interface EnvOptions {
  'edgewise/Partition-v0': Omit<PartitionOptions, 'count'>
}

const FACTORIES: { readonly [Id in keyof EnvOptions]: (options: EnvOptions[Id]) => SingleEnv } = {
  'edgewise/Partition-v0': partition,
}

/** Ids that `makeEnv` accepts. */
export const ENV_IDS = Object.keys(FACTORIES) as readonly (keyof EnvOptions)[]

/** Creates one environment by its id (like gymnasium.make). Throws InputError for an unknown id. */
export function makeEnv<Id extends keyof EnvOptions>(id: Id, options: EnvOptions[Id]): SingleEnv {
  if (!Object.hasOwn(FACTORIES, id))
    throw new InputError({
      where: 'makeEnv: id',
      expected: `one of ${ENV_IDS.join(', ')}`,
      found: id,
    })
  return FACTORIES[id](options)
}
