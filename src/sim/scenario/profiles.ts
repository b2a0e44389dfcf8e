import { loadDevice } from '../../plan/profile/loadDevice.ts'
import { existsSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { InputError } from '../../core/errors.ts'
import { loadModel } from '../../model/catalog.ts'
import type { Precision } from '../../model/precision.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { BlockCosts } from '../../plan/profile/costs.ts'
import { datasheetProfile } from '../../plan/profile/datasheet.ts'
import { readProfile } from '../../plan/profile/file.ts'
import { profileAtPrecision } from '../../plan/profile/precision.ts'
import type { Profile } from '../../plan/profile/types.ts'

/** A path of a config: relative to the folder the config lies in. Ids stay as they are. */
export function besideConfig(folder: string, name: string): string {
  return isAbsolute(name) ? name : resolve(folder, name)
}

/** What runs on a side, where a scenario says so. */
interface SidePrecision {
  readonly side: 'edge' | 'cloud'
  readonly precision: Precision
}

/**
 * A profile by device id (data sheet), device YAML or profile JSON; it must be of the model asked for, and, where a
 * precision is, of that: data sheets are modelled at it. Throws InputError.
 */
function loadProfile(name: string, model: ModelSpec, folder = '.', runs?: SidePrecision): Profile {
  if (!name.endsWith('.json')) {
    const file = besideConfig(folder, name)
    const device = /\.ya?ml$/.test(name) && existsSync(file) ? file : name
    return datasheetProfile(loadDevice(device), model, { precision: runs?.precision })
  }
  const path = besideConfig(folder, name)
  const profile = readProfile(path)
  if (profile.model.id !== model.id) {
    throw new InputError({
      where: path,
      expected: `a profile of ${model.id}`,
      found: `one of ${profile.model.id}`,
      remedy: `edgewise profile --model ${model.id} --out ${name}`,
    })
  }
  if (runs === undefined) return profile
  return profileAtPrecision(profile, {
    ...runs,
    where: path,
    instead: `say \`precision: { ${runs.side}: ${profile.precision} }\` in the scenario`,
    replacement: `name it as \`${runs.side}\` in the scenario`,
  })
}

/** A model by id, or by a YAML file beside the config. */
export function loadModelBeside(name: string, folder: string): ModelSpec {
  const file = besideConfig(folder, name)
  return loadModel(/\.ya?ml$/.test(name) && existsSync(file) ? file : name)
}

/** loadProfile, as the planners read it. */
export function loadCosts(name: string, model: ModelSpec, folder = '.', runs?: SidePrecision): BlockCosts {
  return new BlockCosts(loadProfile(name, model, folder, runs))
}
