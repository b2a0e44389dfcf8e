/** Fonts of every chart. */
export const FONT = 'DejaVu Sans, Verdana, Helvetica, Arial, sans-serif'

/** Colour of texts. */
export const INK = '#1f2933'
/** Colour of axes and secondary texts. */
export const FAINT_INK = '#66707a'

/** Blue and amber can be distinguished by colour-blind readers and in grey print. */
export const PLACE_COLOURS = { edge: '#2f6690', cloud: '#f4a259', unused: '#e4e7eb' } as const

/** Okabe and Ito's palette (https://jfly.uni-koeln.de/color/) without yellow. */
export const SERIES_COLOURS = [
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#56b4e9',
  '#e69f00',
  '#000000',
] as const

/** Vega-Lite configuration shared by all charts. */
export const THEME = {
  background: '#ffffff',
  font: FONT,
  padding: 18,
  view: { stroke: null },
  title: {
    font: FONT,
    fontSize: 15,
    fontWeight: 600,
    color: INK,
    subtitleColor: FAINT_INK,
    subtitleFontSize: 11,
    anchor: 'start',
    subtitlePadding: 5,
    offset: 10,
  },
  axis: {
    labelFont: FONT,
    titleFont: FONT,
    labelColor: FAINT_INK,
    titleColor: INK,
    titleFontWeight: 400,
    labelFontSize: 10,
    titleFontSize: 11,
    gridColor: '#edf0f2',
    domainColor: '#c5ccd3',
    tickColor: '#c5ccd3',
  },
  legend: {
    labelFont: FONT,
    titleFont: FONT,
    labelColor: INK,
    labelFontSize: 11,
    symbolOpacity: 1,
    symbolStrokeWidth: 0,
    symbolSize: 140,
    symbolType: 'square',
  },
} as const
