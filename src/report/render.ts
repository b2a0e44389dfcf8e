import type { TopLevelSpec } from 'vega-lite'
import { FONT } from './theme.ts'

/** Renders a Vega-Lite specification as SVG. Loads the libraries on first use. */
export async function renderSvg(spec: TopLevelSpec): Promise<string> {
  const [{ compile }, { parse, View, Error: errorLevel }] = await Promise.all([
    import('vega-lite'),
    import('vega'),
  ])
  const view = new View(parse(compile(spec).spec), { renderer: 'none', logLevel: errorLevel })
  try {
    return await view.toSVG()
  } finally {
    view.finalize()
  }
}

/** Rasterises an SVG as PNG with `scale` pixels per unit, with the system's fonts. */
export async function renderPng(svg: string, scale = 2): Promise<Buffer> {
  const { Resvg } = await import('@resvg/resvg-js')
  const image = new Resvg(svg, {
    fitTo: { mode: 'zoom', value: scale },
    font: {
      loadSystemFonts: true,
      defaultFontFamily: FONT.split(',')[0],
      sansSerifFamily: FONT.split(',')[0],
    },
  })
  return image.render().asPng()
}
