// Package umacases is one table of raw requests to a UMA authorization server
// with two columns of answers: those of the specifications and those of
// Keycloak 26.7.3. The table runs against the provider of the test kit in both
// dialects and against a real Keycloak, so that the kit's Keycloak cannot drift
// away from the real one.
//
// # Deviations
//
// The cases and the related code name the deviations by these numbers:
//
//	K1   a PAT is made by the role uma_protection, not by a scope; a bad one is 403
//	K2   a new resource has no Location
//	K3   an update is answered 204 and resets what is left out
//	K4   an owner's names are unique: 409
//	K5   scopes come as objects; description and other unknown members are 400
//	K6   the owner is the PAT's, whatever is asked; the service may touch everybody's
//	K7   lists have filters and a cap; names are compared without regard to case
//	K8   permissions come as an array; names, several owners, missing members are taken
//	K9   further error codes of the protection API
//	K10  a ticket is a readable JWT that works until it expires
//	K11  an ID Token or access token of the party, pushed or as Bearer
//	K12  tickets for the asking: not in these cases
//	K13  other claim token formats
//	K14  access_denied, and submit_request, which is true when absent
//	K15  error codes of the token endpoint
//	K16  no need_info, no PCT, no place for claims
//	K17  introspection by client authentication, with a hint, for the audience
//	K18  RPTs are JWTs with authorization.permissions; a refreshed one is of no use
//	K19  a part of what was asked is granted, but not with an RPT
//	K20  entries without scopes, or without a resource
//	K21  an API for owners: not in these cases
//	K22  RPTs live on when the owner changes her mind
//	K23  scopes that do not exist are ignored in the grant
//	K24  any token is taken for an RPT, and the old one stays
//	K25  a ticket or RPT of more than 4,000 characters is ignored
//	K26  an update drops uris and displayName, and what was decided about scopes
//
// # Requests
//
// A request names a method and an endpoint: resource, resource/ID, permission,
// token, introspect, revoke, uma (the metadata). The field As says who sends
// it:
//
//	pat alice            with alice's token for photoz; "pat service": photoz's own
//	client printshop     as that client; "client printshop wrong" with a wrong secret
//	bearer $x            with whatever x holds
//
// In a request, $x stands for what an earlier answer left in x, $name for a
// name unique to the case, $uma and $format for the grant type and the claim
// token format, $bob.id and $bob.access for bob's tokens at printshop,
// $bob.id@photoz for those at photoz, $service.access for the service's own
// token.
//
// # Answers
//
// An answer is a status and conditions on its body:
//
//	member               is there; a.0.b is b of the first element of a
//	!member              is not there
//	member=value         is there with this value; lists have commas, in any order
//	member>x             is there and is left in x
//	@Header, !@Header    the header is there, or is not
//	jwt:member…          the same for the claims of the access token or ticket
package umacases
