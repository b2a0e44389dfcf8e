import { InputError } from '../src/core/errors.ts'
import type { SingleEnv } from './api.ts'
import { partition, type PartitionOptions } from './partition.ts'

/** What each environment is made from; ids carry a version, as Gymnasium's do. */
export interface EnvOptions {
  'edgewise/Partition-v0': Omit<PartitionOptions, 'count'>
}

const FACTORIES: { readonly [Id in keyof EnvOptions]: (options: EnvOptions[Id]) => SingleEnv } = {
  'edgewise/Partition-v0': partition,
}

/** Ids that `makeEnv` knows. */
export const ENV_IDS = Object.keys(FACTORIES) as readonly (keyof EnvOptions)[]

/** One environment by its id (gymnasium.make). Throws InputError for an id that is not registered. */
export function makeEnv<Id extends keyof EnvOptions>(id: Id, options: EnvOptions[Id]): SingleEnv {
  if (!Object.hasOwn(FACTORIES, id))
    throw new InputError({
      where: 'makeEnv: id',
      expected: `one of ${ENV_IDS.join(', ')}`,
      found: id,
    })
  return FACTORIES[id](options)
}
