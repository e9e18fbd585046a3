"""The terms that an archive's columns may have."""

from __future__ import annotations

DWC = "http://rs.tdwg.org/dwc/terms/"
DC = "http://purl.org/dc/terms/"
MULTIMEDIA = "http://rs.gbif.org/terms/1.0/Multimedia"

REQUIRED = ("occurrenceID", "basisOfRecord", "scientificName", "eventDate")
"""Terms without which GBIF accepts no occurrence."""

_DC_OCCURRENCE = "type modified language license rightsHolder accessRights bibliographicCitation references"
_DWC_OCCURRENCE = """
institutionID collectionID datasetID institutionCode collectionCode datasetName ownerInstitutionCode
basisOfRecord informationWithheld dataGeneralizations dynamicProperties

occurrenceID catalogNumber recordNumber recordedBy recordedByID individualCount organismQuantity
organismQuantityType sex lifeStage reproductiveCondition caste behavior vitality establishmentMeans
degreeOfEstablishment pathway georeferenceVerificationStatus occurrenceStatus associatedMedia
associatedOccurrences associatedReferences associatedTaxa otherCatalogNumbers occurrenceRemarks

organismID organismName organismScope previousIdentifications organismRemarks

eventID parentEventID eventType fieldNumber eventDate eventTime startDayOfYear endDayOfYear year month day
verbatimEventDate habitat samplingProtocol sampleSizeValue sampleSizeUnit samplingEffort fieldNotes
eventRemarks

locationID higherGeographyID higherGeography continent waterBody islandGroup island country countryCode
stateProvince county municipality locality verbatimLocality minimumElevationInMeters
maximumElevationInMeters verticalDatum minimumDepthInMeters maximumDepthInMeters locationAccordingTo
locationRemarks decimalLatitude decimalLongitude geodeticDatum coordinateUncertaintyInMeters
coordinatePrecision footprintWKT georeferencedBy georeferencedDate georeferenceProtocol
georeferenceSources georeferenceRemarks

identificationID verbatimIdentification identificationQualifier typeStatus identifiedBy identifiedByID
dateIdentified identificationReferences identificationVerificationStatus identificationRemarks

taxonID scientificNameID acceptedNameUsageID parentNameUsageID taxonConceptID scientificName
acceptedNameUsage parentNameUsage higherClassification kingdom phylum class order superfamily family
subfamily tribe subtribe genus genericName subgenus infragenericEpithet specificEpithet
infraspecificEpithet cultivarEpithet taxonRank verbatimTaxonRank scientificNameAuthorship vernacularName
nomenclaturalCode taxonomicStatus nomenclaturalStatus taxonRemarks
"""

OCCURRENCE = {
    **{term: DC + term for term in _DC_OCCURRENCE.split()},
    **{term: DWC + term for term in _DWC_OCCURRENCE.split()},
}
"""Addresses of the terms of an occurrence, by name."""

_DC_MEDIA = """
type format identifier references title description created creator contributor publisher audience source
license rightsHolder
"""
MEDIA = {**{term: DC + term for term in _DC_MEDIA.split()}, "datasetID": DWC + "datasetID"}
"""Addresses of the terms of a picture or sound, by name."""
