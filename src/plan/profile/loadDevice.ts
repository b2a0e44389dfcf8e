import { existsSync } from 'node:fs'
import { InputError, show } from '../../core/errors.ts'
import { readConfig } from '../../core/schema.ts'
import { builtinDevice, deviceSchema, DEVICES, type DeviceSheet } from './devices.ts'

/**
 * Loads a device by its built-in id or from a YAML file. Apart from the built-in sheets, so that a device that opens a
 * bundle carries no YAML parser. Throws InputError for an unknown id or a bad file.
 */
export function loadDevice(idOrFile: string): DeviceSheet {
  const known = builtinDevice(idOrFile)
  if (known !== null) return known
  if (!existsSync(idOrFile)) {
    throw new InputError({
      where: 'device',
      expected: `one of ${DEVICES.map((device) => device.id).join(', ')}, or a YAML file`,
      found: show(idOrFile),
      remedy: '`edgewise devices` lists the built-in devices',
    })
  }
  return readConfig(deviceSchema, idOrFile)
}
